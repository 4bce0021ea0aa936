//! Devices: names, and what a build without them says.

use lm::DeviceKind;

#[test]
fn names_parse_and_print() {
    for (name, kind) in [
        ("cpu", DeviceKind::Cpu),
        ("wgpu", DeviceKind::Wgpu),
        ("cuda", DeviceKind::Cuda),
        ("tch", DeviceKind::Tch),
    ] {
        assert_eq!(name.parse::<DeviceKind>(), Ok(kind));
        assert_eq!(kind.to_string(), name);
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{name}\""));
    }
    assert_eq!("gpu".parse::<DeviceKind>().unwrap_err(), "found `gpu`, expected cpu, wgpu, cuda or tch");
    assert!("CPU".parse::<DeviceKind>().is_err());
}

#[test]
fn the_cpu_is_always_there() {
    assert!(DeviceKind::Cpu.open().is_ok());
}

#[test]
fn devices_that_are_not_built_say_how_to_build_them() {
    for (kind, built) in [
        (DeviceKind::Wgpu, cfg!(feature = "wgpu")),
        (DeviceKind::Cuda, cfg!(feature = "cuda")),
        (DeviceKind::Tch, cfg!(feature = "tch")),
    ] {
        if !built {
            let message = kind.open().unwrap_err().to_string();
            assert!(message.starts_with(&format!("device `{kind}` is not part of this build")), "{message}");
            assert!(message.contains(&format!("cargo run -p experiments --features {kind}")), "{message}");
        }
    }
}
