//! Reviews as archives and tables. The first byte says what the rest is: a tar archive that is compressed
//! here, or a file as it stands.
#![no_main]

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use imdb::reviews::path::read_path;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let file = fuzz::folder("").join("reviews");
    let packed = if which % 2 == 0 {
        let mut packed = GzEncoder::new(Vec::new(), Compression::none());
        packed.write_all(content).and_then(|()| packed.finish()).expect("memory")
    } else {
        content.to_vec()
    };
    fuzz::write(&file, &packed);
    fuzz::bounded(content, || drop(read_path(&file)));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_binary(data, size, max_size, seed)
});
