//! What the tests of the layer share: the layer as it is built, an application under it, and what it recorded.
#![allow(dead_code, reason = "the benchmark uses a part of it")]

use common::cargo;
use common::child;
use common::config::Config;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};
use trace::{Event, Header, Reader, Record};

pub const LAYER: &str = "VK_LAYER_PANVK_sparse_trace";
pub const VALIDATION: &str = "VK_LAYER_KHRONOS_validation";
/// The layer's variables.
pub const FILE: &str = "PANVK_SPARSE_TRACE_FILE";
pub const LIMIT: &str = "PANVK_SPARSE_TRACE_LIMIT";
pub const ENABLE: &str = "PANVK_SPARSE_TRACE";

pub const BARE: Config = Config::Bare;
pub const ICD: Config = Config::Icd {
    kernel: "1.8-repeat",
    null: "auto",
};

/// Builds the layer with this test's own profile. Returns the folder that it and its manifest lie in.
pub fn layer_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = cargo::build(&["--package", "panvk-sparse-trace-layer"]);
        cargo::written(&folder, "VkLayer_panvk_sparse_trace.json");
        folder
    })
}

const INSTALLED: &str = "/usr/share/vulkan/explicit_layer.d";

/// Where the loader looks for layers: the build's, and those that are installed.
pub fn layer_path() -> String {
    format!("{}:{INSTALLED}", layer_folder().display())
}

/// As [`layer_path`], in the other order.
pub fn layer_path_with_ours_last() -> String {
    format!("{INSTALLED}:{}", layer_folder().display())
}

/// Whether this process is an application that a test has started.
pub fn is_child() -> bool {
    std::env::var_os("PANVK_SPARSE_TEST_CHILD").is_some()
}

/// A whole recording.
#[derive(Debug)]
pub struct Trace {
    pub header: Header,
    pub records: Vec<Record>,
    pub ended_cleanly: bool,
}

impl Trace {
    /// Everything up to the end or to the first damage, which a killed process may leave.
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let reader = Reader::new(BufReader::new(file));
        let mut reader = reader
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .salvaging(true);
        let mut records = Vec::new();
        while let Some(record) = reader.next_record().expect("the system reads the file") {
            records.push(record);
        }
        Self {
            header: reader.header().clone(),
            ended_cleanly: reader.ended_cleanly(),
            records,
        }
    }

    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.records.iter().map(|record| &record.event)
    }

    pub fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events().filter(|event| which(event)).count()
    }

    pub fn binds(&self) -> usize {
        self.count(|event| matches!(event, Event::BindSparse { .. }))
    }
}

/// What an application that was recorded has left.
#[derive(Debug)]
pub struct Recorded {
    pub outcome: child::Outcome,
    /// The file that the test has named, where there is one.
    pub trace: Option<Trace>,
    /// The folder that it lies in.
    pub folder: PathBuf,
}

impl Recorded {
    /// The recording, which was ended as it should.
    #[track_caller]
    pub fn trace(&self) -> &Trace {
        let trace = self.trace.as_ref().expect("there is a recording");
        assert!(trace.ended_cleanly, "its end is marked");
        assert!(
            trace
                .records
                .windows(2)
                .all(|pair| pair[0].time <= pair[1].time),
            "time goes on"
        );
        trace
    }
}

/// Runs `body` under `config` and the layer, in a process of its own that records into a file, and hands what was
/// recorded to `check` in this one. `extra` comes after what the layer needs; `{folder}` in a value is a folder that is
/// the test's.
pub fn recorded(
    test: &str,
    config: Config,
    extra: &[(&str, &str)],
    body: impl FnOnce(),
    check: impl FnOnce(&Recorded),
) {
    if is_child() {
        // A test that runs its application in several ways calls this several times, in the application too.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| child::run(test, config, &[], body, |_| ()));
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("trace.pvst");
    let mut environment = vec![
        ("VK_LAYER_PATH", layer_path()),
        ("VK_INSTANCE_LAYERS", LAYER.to_owned()),
        (FILE, file.display().to_string()),
    ];
    let here = folder.path().display().to_string();
    for (name, value) in extra {
        environment.retain(|(known, _)| known != name);
        environment.push((name, value.replace("{folder}", &here)));
    }
    let environment: Vec<_> = environment.iter().map(|(n, v)| (*n, v.as_str())).collect();
    child::run(test, config, &environment, body, |outcome| {
        check(&Recorded {
            outcome: child::Outcome {
                dump: None,
                stdout: outcome.stdout.clone(),
                stderr: outcome.stderr.clone(),
                stats: outcome.stats.clone(),
            },
            trace: file.exists().then(|| Trace::read(&file)),
            folder: folder.path().to_owned(),
        });
    });
}
