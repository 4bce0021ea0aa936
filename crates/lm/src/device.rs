//! The only module that constructs a burn [`Device`](burn::tensor::Device).
//!
//! A device is opened once in a process, before any work: [`DeviceSpec::open`] has it compute
//! something and reads the answer back, so that a missing driver is one message at the start and not a
//! panic an hour later. What belongs to a device, such as how many rows it scores together, is asked
//! here and is no constant elsewhere.

mod auto;
mod caught;
mod drivers;
mod open;
mod spec;

pub use fused::{Precision, host};

pub use self::caught::caught;
pub use self::drivers::{Facts, cores, cpu_name};
pub(crate) use self::open::steps_at_once;
pub use self::open::{OpenDevice, on_host, score_rows};
pub use self::spec::{Backend, DeviceChoice, DeviceSpec};
