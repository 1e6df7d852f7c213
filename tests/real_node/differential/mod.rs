//! The real node and the model of it, asked the same at random: whatever they answer differently is a fault of the model.
//!
//! A sequence is a list of calls that a seed gives. Each is made on a new file of the node, and on one of the model in this
//! process; errno, and every byte that the call may have written, must be the same. Where the kernel is that of
//! `scripts/real-kernel.sh`, page-table entries are counted after each VM_BIND, and at the end of a sequence of binds the
//! kernel's list of mappings and the page tables are compared as well. Where something differs, the sequence is made as
//! small as can be, and printed. A recorded one with the line `# blocks` is for kernels that split 2 MiB entries, and has
//! buffer objects that are mapped with them.
//!
//! | variable | what it does |
//! |---|---|
//! | `PANVK_SPARSE_TEST_SEQUENCES=COUNT[@FIRST]` | how many sequences of each kind, and the first seed |
//! | `PANVK_SPARSE_TEST_REPLAY=FILE` | calls as they were printed, in place of those of `sequences/` |
//! | `PANVK_SPARSE_TEST_FATAL=1` | also makes the calls that Linux 7.3 does not survive, or warns of |

#[path = "../../vpanthor/kit/backend.rs"]
#[allow(dead_code, reason = "the tests of vpanthor use the rest")]
mod backend;
mod binds;
mod blocks;
mod call;
mod ioctls;
mod look;
mod random;
mod rig;
mod shrink;
mod sides;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use blocks::Blocks;
use call::Call;
use panvk_sparse::uapi::{
    IOCTL_BO_QUERY_INFO, IOCTL_BO_SET_LABEL, IOCTL_BO_SYNC, IOCTL_SET_CLIENT_NAME,
    IOCTL_SET_USER_MMIO_OFFSET, IOCTL_VM_DESTROY, ioctls as known_ioctls,
};
use rig::Rig;
use sides::{Difference, Sides};
use vpanthor::{Flavour, model_of};

/// How many sequences of each kind there are unless somebody asks for more.
const SEQUENCES: u64 = 1000;

/// What Linux 6.12 does not have.
const AFTER_1_0: [u32; 5] = [
    IOCTL_BO_SET_LABEL,
    IOCTL_SET_USER_MMIO_OFFSET,
    IOCTL_BO_SYNC,
    IOCTL_BO_QUERY_INFO,
    IOCTL_SET_CLIENT_NAME,
];

/// All calls use one memory, and counts are those of the whole kernel.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a run of sequences needs to know.
pub struct Judge {
    node: PathBuf,
    /// What the model plays.
    flavour: Flavour,
    rig: &'static Option<Rig>,
    /// Whether calls are left out that the kernel does not survive.
    careful: bool,
    /// Page-table entries are compared, which takes that nothing else writes any.
    counted: bool,
    /// Buffer objects from 2 MiB on are those.
    blocks: Option<Blocks>,
    /// How many calls of a name were made, and how many of them succeeded.
    answers: RefCell<BTreeMap<&'static str, [u64; 2]>>,
}

impl Judge {
    fn new(counted: bool) -> Self {
        static RIG: OnceLock<Option<Rig>> = OnceLock::new();
        let (node, device) = vpanthor::nodes::find().expect("a panthor node");
        let capabilities = panvk_sparse::drm::probe(&device).expect("the node can be probed");
        Self {
            node,
            flavour: model_of(&capabilities),
            rig: RIG.get_or_init(Rig::open),
            counted,
            blocks: None,
            answers: RefCell::default(),
            careful: std::env::var_os("PANVK_SPARSE_TEST_FATAL").is_none(),
        }
    }

    /// Makes the calls on both sides; how many were made, or the first difference.
    pub fn run(&self, calls: &[Call]) -> Result<u64, Difference> {
        let mut sides = Sides::open(self);
        let mut made = 0;
        for (at, call) in calls.iter().enumerate() {
            if self.careful && sides.is_fatal(call) {
                continue;
            }
            let succeeded = sides.call(call).map_err(|what| Difference { at, what })?;
            let mut answers = self.answers.borrow_mut();
            let [calls, successes] = answers.entry(call.name()).or_default();
            *calls += 1;
            *successes += u64::from(succeeded);
            made += 1;
        }
        let at = calls.len();
        look::compare(&sides).map_err(|what| Difference { at, what })?;
        Ok(made)
    }

    /// Panics with the smallest sequence that shows the difference.
    fn report(&self, name: &str, calls: Vec<Call>, first: &Difference) -> ! {
        let (calls, difference) = shrink::shrink(self, calls, first);
        let text: Vec<String> = calls.iter().map(Call::to_string).collect();
        panic!(
            "{name}: {}, at call {} of\n\n{}\n",
            difference.what,
            difference.at,
            text.join("\n")
        );
    }

    fn run_all(&self, kind: &str, sequence: impl Fn(u64) -> Vec<Call>) -> u64 {
        let asked = std::env::var("PANVK_SPARSE_TEST_SEQUENCES").unwrap_or_default();
        let (count, first) = asked.split_once('@').unwrap_or((&asked, "0"));
        let count = if count.is_empty() {
            SEQUENCES
        } else {
            count.parse().expect("a number of sequences")
        };
        let first: u64 = first.parse().expect("the first seed");
        let mut made = 0;
        for seed in first..first + count {
            let calls = sequence(seed);
            match self.run(&calls) {
                Ok(calls) => made += calls,
                Err(difference) => {
                    // Said at once: a kernel with a fault may not survive what comes.
                    println!("{kind} {seed}: call {}: {}", difference.at, difference.what);
                    self.report(&format!("{kind} {seed}"), calls, &difference);
                }
            }
        }
        println!(
            "{count} sequences of {kind} from {first} on: {made} calls, no difference from vpanthor:{}",
            self.flavour
        );
        made
    }
}

#[test]
#[ignore = "needs a panthor node"]
fn real_node_answers_random_binds_as_its_model_does() {
    let _alone = alone();
    let judge = Judge::new(true);
    compare_binds(&judge, "binds");
}

/// With memory that the kernel maps with 2 MiB entries. Only one that splits them can be asked: later ones take a cut through
/// memory that lies in a row by chance for an error.
#[test]
#[ignore = "needs a panthor node"]
fn real_node_splits_blocks_as_its_model_does() {
    let _alone = alone();
    let mut judge = Judge::new(true);
    let (true, Some(rig)) = (judge.flavour.splits_blocks(), judge.rig) else {
        return println!("not asked: vpanthor:{} on this kernel", judge.flavour);
    };
    judge.blocks = Some(Blocks::new(
        &judge.node,
        rig,
        &binds::sequence(0, judge.flavour),
    ));
    compare_binds(&judge, "binds of blocks");
}

fn compare_binds(judge: &Judge, kind: &str) {
    let made = judge.run_all(kind, |seed| binds::sequence(seed, judge.flavour));
    if let Some(rig) = judge.rig {
        let compared = rig.compared();
        println!("{compared:?}");
        let least = made / 8;
        assert!(
            compared.binds > least
                && compared.entries > least
                && compared.mappings > least
                && compared.pages > least
        );
        assert_eq!(compared.blocks > 0, judge.blocks.is_some());
    }
}

#[test]
#[ignore = "needs a panthor node"]
fn real_node_answers_random_ioctls_as_its_model_does() {
    let _alone = alone();
    let judge = Judge::new(false);
    let made = judge.run_all("ioctls", ioctls::sequence);
    let answers = judge.answers.borrow();
    for (name, [calls, successes]) in answers.iter() {
        println!("{name}: {calls} calls, {successes} succeeded");
    }
    // Else they would show little.
    let succeeded: u64 = answers.values().map(|[_, successes]| successes).sum();
    assert!(succeeded > made / 4, "{succeeded} of {made}");
    for ioctl in known_ioctls() {
        let successes = answers
            .get(ioctl.name)
            .map_or(0, |[_, successes]| *successes);
        let is_known = judge.flavour != Flavour::V1_0 || !AFTER_1_0.contains(&ioctl.code);
        assert!(
            made < 50_000 || (successes > 0) == is_known,
            "{} succeeded {successes} times",
            ioctl.name
        );
    }
}

#[test]
#[ignore = "needs a panthor node"]
fn real_node_answers_recorded_sequences_as_its_model_does() {
    let _alone = alone();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/real_node/sequences");
    let files: Vec<PathBuf> = match std::env::var_os("PANVK_SPARSE_TEST_REPLAY") {
        Some(file) => vec![file.into()],
        None => std::fs::read_dir(folder)
            .expect(folder)
            .map(|entry| entry.expect(folder).path())
            .collect(),
    };
    for path in files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).expect(&name);
        let lines = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let calls: Vec<Call> = lines.map(|line| call::parse(line).expect(line)).collect();
        let of_others = |call: &Call| {
            call.name().starts_with("GROUP_")
                || call.name().starts_with("TILER_")
                || call.is(IOCTL_VM_DESTROY)
        };
        let mut judge = Judge::new(!calls.iter().any(of_others));
        if text.contains("# blocks\n") {
            let (true, Some(rig)) = (judge.flavour.splits_blocks(), judge.rig) else {
                continue;
            };
            judge.blocks = Some(Blocks::new(&judge.node, rig, &calls));
        }
        if let Err(difference) = judge.run(&calls) {
            judge.report(&name, calls, &difference);
        }
    }
}
