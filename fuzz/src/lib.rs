//! What the fuzz targets share: a folder for the file that is read, a ceiling on what reading may allocate,
//! and mutations that know how binary files are built.

use std::alloc::System;
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use cap::Cap;
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What reading a file of any size may hold at once, in bytes.
const BASE: usize = 24 << 20;
/// What it may hold besides for each byte of the file.
const PER_BYTE: usize = 256;

/// Runs a parser that may hold no more memory than the file that it reads accounts for. An allocation beyond
/// that fails, which ends the process and is a finding.
pub fn bounded(bytes: &[u8], parse: impl FnOnce()) {
    bounded_by(BASE + PER_BYTE * bytes.len(), parse);
}

/// Runs a parser that may hold at most `most` bytes.
pub fn bounded_by(most: usize, parse: impl FnOnce()) {
    let ceiling = ALLOCATOR.allocated() + most;
    ALLOCATOR.set_limit(ceiling).expect("the ceiling is above what is held");
    parse();
    ALLOCATOR.set_limit(usize::MAX).expect("no limit");
}

/// Lets panics be caught again: some libraries panic on files, which the project's readers turn into errors,
/// and libFuzzer would end the process before they can. A panic that leaves a target still ends it.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if std::env::var_os("FUZZ_PANICS").is_some() {
            eprintln!("{panic}");
        }
    }));
}

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// A folder of this process, in memory where there is such a place, with the files of the folder `from` of
/// `models/` in it; none for an empty name.
pub fn folder(from: &str) -> PathBuf {
    FOLDER.with(|folder| {
        let mut folder = folder.borrow_mut();
        let root = folder.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            made.expect("a temporary folder")
        });
        let place = root.path().join(if from.is_empty() { "plain" } else { from });
        if !place.exists() {
            fs::create_dir(&place).expect("a new folder");
            if !from.is_empty() {
                let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(from);
                for entry in fs::read_dir(models).expect("the models that seeds.py makes") {
                    let path = entry.expect("an entry").path();
                    fs::copy(&path, place.join(path.file_name().expect("a name"))).expect("a copy");
                }
            }
        }
        place
    })
}

/// Writes the file that is to be read.
pub fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a writable folder");
}

/// Numbers that files lie with.
const LIES: [u64; 16] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    255,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 40,
    1 << 62,
    i64::MAX as u64,
    u64::MAX,
];

/// A mutation of a file with numbers in binary: a lie of 4 or 8 bytes somewhere near its
/// start, or what libFuzzer does.
pub fn mutate_binary(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let seed = seed as usize;
    if seed % 3 > 0 || size < 16 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let wide = seed / 3 % 2 == 0;
    let at = (seed / 6) % (size - 8).min(4096);
    let old = u64::from_le_bytes(data[at..at + 8].try_into().expect("8 bytes"));
    let lie = match seed / 7 % 4 {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        _ => LIES[seed / 28 % LIES.len()],
    };
    let bytes = lie.to_le_bytes();
    let width = if wide { 8 } else { 4 };
    data[at..at + width].copy_from_slice(&bytes[..width]);
    size
}

/// A mutation of a safetensors file, which is the length of a JSON text in 8 bytes, the text, and
/// data: one of the text after which the length is right again, a lie about a number in it, or what
/// libFuzzer does to all of it.
pub fn mutate_headed(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let length = data.first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    if seed % 4 == 0 || size < 10 || length > size as u64 - 8 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let end = 8 + length as usize;
    let rest = data[end..size].to_vec();
    let room = max_size - rest.len() - 8;
    let mut header = data[8..end].to_vec();
    if seed % 4 == 1 {
        header = with_a_lie(&header, seed as usize / 4);
    } else {
        let old = header.len();
        header.resize(room.max(old), 0);
        let new = libfuzzer_sys::fuzzer_mutate(&mut header, old, room.max(old));
        header.truncate(new);
    }
    header.truncate(room);
    data[..8].copy_from_slice(&(header.len() as u64).to_le_bytes());
    data[8..8 + header.len()].copy_from_slice(&header);
    let whole = 8 + header.len() + rest.len();
    data[8 + header.len()..whole].copy_from_slice(&rest);
    whole
}

/// A text with another number in the place of one of its numbers.
pub fn with_a_lie(text: &[u8], seed: usize) -> Vec<u8> {
    let digit = |&at: &usize| text[at].is_ascii_digit() && (at == 0 || !text[at - 1].is_ascii_digit());
    let starts: Vec<usize> = (0..text.len()).filter(digit).collect();
    let Some(&start) = starts.get(seed % starts.len().max(1)) else { return text.to_vec() };
    let end = start + text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let old: u64 =
        std::str::from_utf8(&text[start..end]).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let lie = match seed / 3 % 4 {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => old.wrapping_mul(2),
        _ => LIES[seed / 12 % LIES.len()],
    };
    [&text[..start], lie.to_string().as_bytes(), &text[end..]].concat()
}

/// A mutation of JSON, TOML or CSV: a lie about a number, or what libFuzzer does.
pub fn mutate_text(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    if seed % 3 > 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let lie = with_a_lie(&data[..size], seed as usize / 3);
    let new = lie.len().min(max_size);
    data[..new].copy_from_slice(&lie[..new]);
    new
}
