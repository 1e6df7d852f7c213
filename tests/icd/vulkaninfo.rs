//! What `vulkaninfo` reports of us: our own few lines, and the base driver's for all the rest.

use common::config::Config;
use std::process::Command;

const ICD: Config = Config::Icd {
    kernel: "1.8-repeat",
    null: "auto",
};

/// Standard output of `vulkaninfo` under `config`; it must succeed.
fn vulkaninfo(config: Config) -> Vec<String> {
    let mut command = Command::new("vulkaninfo");
    config.apply(&mut command);
    // No windows: the same output with and without a display.
    for display in ["DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"] {
        command.env_remove(display);
    }
    let (status, stdout, stderr) = common::child::finish(command);
    assert!(
        status.success(),
        "vulkaninfo under {config:?}: {status}\n{stderr}"
    );
    stdout.lines().map(str::to_owned).collect()
}

/// `name = value` lines, as a pair.
fn value(line: &str) -> Option<(&str, &str)> {
    line.split_once(" = ")
        .map(|(name, value)| (name.trim(), value.trim()))
}

fn values<'a>(report: &'a [String], name: &str) -> Vec<&'a str> {
    report
        .iter()
        .filter_map(|l| value(l))
        .filter(|(n, _)| *n == name)
        .map(|(_, v)| v)
        .collect()
}

#[test]
fn sparse_features_are_what_we_can_do() {
    let (base, report) = (vulkaninfo(Config::Bare), vulkaninfo(ICD));
    for feature in ["sparseBinding", "sparseResidencyBuffer"] {
        assert_eq!(values(&report, feature), ["true"], "{feature}");
    }
    // What the base driver can do of these, we can.
    for feature in [
        "sparseResidencyAliased",
        "sparseResidencyImage2D",
        "sparseResidencyImage3D",
        "sparseResidency2Samples",
        "sparseResidency4Samples",
        "sparseResidency8Samples",
        "sparseResidency16Samples",
        "shaderResourceResidency",
        "residencyStandard2DBlockShape",
        "residencyStandard2DMultisampleBlockShape",
        "residencyStandard3DBlockShape",
        "residencyAlignedMipSize",
        "residencyNonResidentStrict",
        "sparseAddressSpaceSize",
    ] {
        let ours = values(&report, feature);
        assert_eq!(ours.len(), 1, "{feature} is reported");
        assert_eq!(ours, values(&base, feature), "{feature}");
    }
    let flags = values(&report, "queueFlags");
    assert!(
        flags.iter().any(|f| f.contains("QUEUE_SPARSE_BINDING")),
        "{flags:?}"
    );
}

#[test]
fn driver_info_names_us_the_base_driver_and_the_kernel() {
    let base = vulkaninfo(Config::Bare);
    for kernel in ["1.5", "1.8-repeat", "1.9"] {
        let report = vulkaninfo(Config::Icd {
            kernel,
            null: "auto",
        });
        let infos = values(&report, "driverInfo");
        assert!(!infos.is_empty(), "driverInfo is there");
        for info in infos {
            let kernel = format!("vpanthor:{kernel}");
            let base_driver = values(&base, "driverName")[0];
            for part in [
                "panvk-sparse",
                env!("CARGO_PKG_VERSION"),
                base_driver,
                &kernel,
            ] {
                assert!(info.contains(part), "driverInfo names {part}: {info}");
            }
        }
    }
}

/// The names whose values differ, and why.
const DIFFERENT: &[&str] = &[
    // Ours: see the test above.
    "driverInfo",
    // What the machine has free right now.
    "budget",
    "usage",
];

#[test]
fn everything_else_is_the_base_drivers() {
    let (base, mut ours) = (vulkaninfo(Config::Bare), vulkaninfo(ICD));
    // Sparse images with linear tiling are taken back, where the base driver has them.
    if ours.len() == base.len() + 1 {
        let linear = ours.windows(3).position(|lines| {
            lines[0].contains("IMAGE_TILING_LINEAR") && lines[2].trim() == "(non-sparse)"
        });
        ours.remove(linear.expect("a line about linear images") + 2);
    }
    let all = base.iter().zip(&ours).filter(|(b, o)| b != o);
    let unexpected: Vec<_> = all
        .filter(|(b, o)| match (value(b), value(o)) {
            (Some((name, _)), Some((ours, _))) => name != ours || !DIFFERENT.contains(&name),
            _ => true,
        })
        .map(|(b, o)| format!("- {b}\n+ {o}"))
        .take(20)
        .collect();
    assert!(
        unexpected.is_empty(),
        "lines that differ:\n{}",
        unexpected.join("\n")
    );
    assert_eq!(base.len(), ours.len(), "lines");
}

#[test]
fn the_summary_works_under_every_kernel() {
    for kernel in ["1.0", "1.5", "1.8", "1.6-repeat", "1.8-repeat", "1.9"] {
        let mut command = Command::new("vulkaninfo");
        Config::Icd {
            kernel,
            null: "auto",
        }
        .apply(&mut command);
        command.arg("--summary");
        let (status, stdout, stderr) = common::child::finish(command);
        assert!(status.success(), "{kernel}: {status}\n{stderr}");
        assert!(stdout.contains(&format!("vpanthor:{kernel}")), "{stdout}");
    }
}
