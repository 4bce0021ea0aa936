//! TensorBoard's event file: records of TFRecord, each a message of protocol buffers.
//!
//! ```text
//! record   length u64 | masked CRC-32C of it u32 | message | masked CRC-32C of it u32     all little-endian
//! Event    1: wall_time double | 2: step int64 | 3: file_version string | 5: summary Summary
//! Summary  1: value Value, repeated
//! Value    1: tag string | 2: simple_value float
//! ```
//!
//! Tags are those of TRL and of the `Trainer` of `transformers`: `train/loss`, `eval/rewards/accuracies`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::appended::Appended;

/// The file's name; TensorBoard knows it by its middle part.
pub const EVENTS: &str = "events.out.tfevents.training";

/// What every file begins with.
const VERSION: &str = "brain.Event:2";

/// Wire types of protocol buffers.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

/// An event file that is written.
pub struct Events(Appended);

impl Events {
    /// A new file, or of an old one its first `keep` bytes.
    pub fn open(dir: &Path, keep: u64) -> Result<Self> {
        let mut events = Self(Appended::open(&dir.join(EVENTS), keep)?);
        if keep == 0 {
            events.0.append(&record(&event(now(), 0, |message| field(message, 3, VERSION.as_bytes()))))?;
        }
        Ok(events)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Appends the finite ones of some numbers after a step; names that begin with `eval_` are an
    /// evaluation's.
    pub fn append(&mut self, step: usize, numbers: &[(String, f64)]) -> Result<()> {
        let summary = summary(numbers);
        if summary.is_empty() {
            return Ok(());
        }
        self.0.append(&record(&event(now(), step as u64, |message| field(message, 5, &summary))))
    }

    /// Has the disk keep it.
    pub fn sync(&self) -> Result<()> {
        self.0.sync()
    }
}

/// The finite ones of some numbers; nothing if none is.
fn summary(numbers: &[(String, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, number) in numbers.iter().filter(|(_, number)| number.is_finite()) {
        let mut value = Vec::new();
        field(&mut value, 1, tag(name).as_bytes());
        value.push(2 << 3 | FIXED_32);
        value.extend((*number as f32).to_le_bytes());
        field(&mut summary, 1, &value);
    }
    summary
}

/// A number's name as TensorBoard groups them.
fn tag(name: &str) -> String {
    name.strip_prefix("eval_").map_or_else(|| format!("train/{name}"), |name| format!("eval/{name}"))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn event(wall_time: f64, step: u64, what: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = vec![1 << 3 | FIXED_64];
    message.extend(wall_time.to_le_bytes());
    if step > 0 {
        message.push(2 << 3 | VARINT);
        varint(&mut message, step);
    }
    what(&mut message);
    message
}

/// A field of bytes: text or a message.
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | BYTES);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let [of_length, of_message] = [&length[..], message].map(|bytes| masked_crc(bytes).to_le_bytes());
    [&length[..], &of_length, message, &of_message].concat()
}

/// A checksum that is not that of bytes with a checksum among them.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two records as TensorBoard's own `RecordWriter` (2.21.0) writes them.
    #[test]
    fn records_are_those_of_tensorboard() {
        let expected = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c\
                        31000000000000009d8383e909000000000000f83f10ac022a230a110a0a747261696e2f6c6f7373\
                        150000003f0a0e0a076576616c2f6b6c15000000c0dfddeff3";
        let numbers = [("loss", 0.5), ("nothing", f64::NAN), ("eval_kl", -2.0)];
        let summary = summary(&numbers.map(|(name, number)| (name.to_owned(), number)));
        let version = event(1.5, 0, |message| field(message, 3, VERSION.as_bytes()));
        let records = [record(&version), record(&event(1.5, 300, |message| field(message, 5, &summary)))];
        assert_eq!(crate::study::folder::hex(&records.concat()), expected);
    }

    #[test]
    fn bytes_by_hand() {
        let version = event(0.0, 0, |message| field(message, 3, VERSION.as_bytes()));
        assert_eq!(version, [&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a, 13], VERSION.as_bytes()].concat());
        // 300 = 0b10_0101100.
        assert_eq!(event(0.0, 300, |_| ())[9..], [0x10, 0xac, 0x02]);
        assert_eq!(
            (tag("eval_rewards/margins"), tag("loss")),
            ("eval/rewards/margins".into(), "train/loss".into())
        );
    }

    #[test]
    fn a_file_goes_on_where_a_checkpoint_left_it() {
        let dir = tempfile::tempdir().unwrap();
        let numbers = [("loss".to_owned(), 0.5), ("eval_loss".to_owned(), f64::NAN)];
        let mut events = Events::open(dir.path(), 0).unwrap();
        events.append(1, &numbers).unwrap();
        let kept = events.bytes();
        events.append(2, &numbers).unwrap();
        let read = || std::fs::read(dir.path().join(EVENTS)).unwrap();
        assert_eq!(read().len() as u64, events.bytes());
        let before = read();
        let events = Events::open(dir.path(), kept).unwrap();
        assert_eq!((read().as_slice(), events.bytes()), (&before[..kept as usize], kept));
        assert!(Events::open(dir.path(), kept + 1).is_err());
    }
}
