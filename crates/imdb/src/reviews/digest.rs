//! Digests of files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::error::{ImdbError, io};

/// Lower-case hexadecimal digits of a digest.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// md5 of a file.
pub(super) fn md5_of(path: &Path) -> Result<String, ImdbError> {
    digest_of::<Md5>(path)
}

/// sha256 of a file.
pub(super) fn sha256_of(path: &Path) -> Result<String, ImdbError> {
    digest_of::<Sha256>(path)
}

fn digest_of<D: Digest>(path: &Path) -> Result<String, ImdbError> {
    let mut file = File::open(path).map_err(io("open", path))?;
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(io("read", path))? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}
