//! Devices: names, and what those say that are not there.

use lm::device::{Backend, Precision};
use lm::{DeviceChoice, DeviceSpec};

use crate::support::device;

#[test]
fn names_parse_and_print() {
    for (name, spec) in [
        ("cpu", DeviceSpec::CPU),
        ("wgpu", DeviceSpec::new(Backend::Wgpu, None)),
        ("wgpu:2", DeviceSpec::new(Backend::Wgpu, Some(2))),
        ("cuda", DeviceSpec::new(Backend::Cuda, None)),
        ("cuda:0", DeviceSpec::new(Backend::Cuda, Some(0))),
        ("tch", DeviceSpec::new(Backend::Tch, None)),
        ("tch:cuda:1", DeviceSpec::new(Backend::Tch, Some(1))),
    ] {
        assert_eq!(name.parse(), Ok(spec));
        assert_eq!(spec.to_string(), name);
        let json = format!("\"{name}\"");
        assert_eq!(serde_json::to_string(&spec).unwrap(), json);
        assert_eq!(serde_json::from_str::<DeviceSpec>(&json).unwrap(), spec);
        assert_eq!(name.parse(), Ok(DeviceChoice::Named(spec)));
    }
    assert_eq!("tch:cpu".parse(), Ok(DeviceSpec::new(Backend::Tch, None)));
    assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
    assert_eq!(DeviceChoice::Auto.to_string(), "auto");
}

#[test]
fn other_names_are_refused() {
    let expected = "cpu, wgpu[:i], cuda[:i] or tch[:cpu|cuda:i]";
    for name in
        ["gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "wgpu:1:2", "tch:0", "tch:cuda", ""]
    {
        assert_eq!(name.parse::<DeviceSpec>(), Err(format!("found `{name}`, expected {expected}")));
    }
    assert_eq!("gpu".parse::<DeviceChoice>(), Err(format!("found `gpu`, expected auto, {expected}")));
    assert_eq!("auto".parse::<DeviceSpec>(), Err(format!("found `auto`, expected {expected}")));
    assert_eq!("f16".parse::<Precision>(), Err("found `f16`, expected f32 or bf16".to_owned()));
}

#[test]
fn the_cpu_is_always_there() {
    let cpu = DeviceSpec::CPU.describe().unwrap();
    assert!(!cpu.facts.name.is_empty());
    assert!(!cpu.facts.software);
    assert_eq!(cpu.pool(), [DeviceSpec::CPU]);
}

#[test]
fn the_cpu_has_no_bf16() {
    let message = DeviceSpec::CPU.with_precision(Precision::Bf16).open().unwrap_err().to_string();
    assert!(message.starts_with("device `cpu`: found "), "{message}");
    assert!(
        message.ends_with("does not multiply in bf16, expected --precision f32, or an NVIDIA GPU"),
        "{message}"
    );
}

#[test]
fn devices_that_are_not_built_say_how_to_build_them() {
    for backend in Backend::ALL.into_iter().filter(|backend| !backend.built()) {
        let message = DeviceSpec::new(backend, None).open().unwrap_err().to_string();
        let name = backend.name();
        assert!(message.starts_with(&format!("device `{name}` is not part of this build")), "{message}");
        assert!(message.contains(&format!("cargo run -p experiments --features {name}")), "{message}");
    }
}

#[test]
fn an_index_out_of_range_is_one_message() {
    for backend in [Backend::Wgpu, Backend::Cuda].into_iter().filter(|backend| backend.built()) {
        let spec = DeviceSpec::new(backend, Some(4242));
        let message = spec.open().unwrap_err().to_string();
        assert!(message.starts_with(&format!("device `{spec}`: found ")), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn auto_never_takes_a_gpu_for_a_tiny_model_and_takes_what_is_named() {
    let tiny = DeviceChoice::Auto.open(Precision::F32, 10_000).unwrap();
    assert_eq!(tiny.spec, DeviceSpec::CPU);
    let large = DeviceChoice::Auto.open(Precision::F32, 100_000_000).unwrap();
    assert!(!large.facts.software);
    if ![Backend::Cuda, Backend::Wgpu].into_iter().any(Backend::built) {
        assert_eq!(large.spec, DeviceSpec::CPU);
    }
    assert_eq!(
        DeviceChoice::Named(DeviceSpec::CPU).open(Precision::F32, 100_000_000).unwrap().spec,
        DeviceSpec::CPU
    );
}

#[test]
fn the_host_scores_few_rows_and_a_gpu_many() {
    let rows = lm::device::score_rows(&device());
    if lm::device::on_host(&device()) {
        assert_eq!(rows, 32);
        assert_eq!(lm::device::score_rows(&device().autodiff()), 32);
    } else {
        assert!((32..=1024).contains(&rows), "{rows}");
    }
}
