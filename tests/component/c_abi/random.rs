//! Binds through the C ABI, and what the kernel maps afterwards.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Dump, run};

const PAGE: u64 = 4096;
const READONLY: u64 = 1;
const NOEXEC: u64 = 2;
const UNCACHED: u64 = 4;
/// Bytes of an application's buffer object in `program.c`.
const MEMORY_SIZE: u64 = 1024 * PAGE;

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} of {value}"))
}

/// The pages that map something else than `program.c` says, in words; and how many binds it made.
fn wrong_pages(printed: &str, dump: &Dump) -> (Vec<String>, u64) {
    let file = dump.nodes[0]
        .files
        .iter()
        .find(|file| !file.vms.is_empty())
        .expect("the program left its file open");
    let vm = &file.vms[0];
    assert_eq!(vm["usable"], true);
    assert_eq!(number(vm, "queued_ops"), 0);
    let mut mapped = BTreeMap::new();
    for mapping in vm["mappings"].as_array().expect("mappings") {
        let (va, bo, offset) = (
            number(mapping, "va"),
            number(mapping, "bo"),
            number(mapping, "offset"),
        );
        for at in (0..number(mapping, "size")).step_by(PAGE as usize) {
            mapped.insert(va + at, (bo, offset + at, number(mapping, "flags")));
        }
    }
    let handles: BTreeMap<_, _> = file
        .bos
        .iter()
        .map(|bo| (number(bo, "id"), number(bo, "handle")))
        .collect();
    let memory = file
        .bos
        .iter()
        .filter(|bo| number(bo, "size") == MEMORY_SIZE);
    let memory: BTreeSet<_> = memory.map(|bo| number(bo, "id")).collect();
    // Anything else that is open is the dummy.
    let is_dummy = |bo: u64| bo == 0 || (handles.contains_key(&bo) && !memory.contains(&bo));

    let (mut wrong, mut binds) = (Vec::new(), 0);
    for line in printed.lines() {
        let word: Vec<_> = line.split(' ').collect();
        if word[0] == "binds" {
            binds = word[1].parse().expect("a number");
            continue;
        }
        let of = |i: usize| word[i].parse::<u64>().expect("a number");
        let (handle, freed, offset, flags) = (of(3), of(4) == 1, of(5), of(6));
        let right = match mapped.get(&of(1)) {
            None => word[2] == "-",
            Some(_) if word[2] == "-" => false,
            Some(&(bo, _, kernel)) if handle == 0 => is_dummy(bo) && kernel & NOEXEC != 0,
            Some(&(bo, at, kernel)) => {
                let whose = match freed {
                    true => bo != 0 && !handles.contains_key(&bo),
                    false => memory.contains(&bo) && handles[&bo] == handle,
                };
                let wanted = NOEXEC
                    | if flags & 1 != 0 { READONLY } else { 0 }
                    | if flags & 2 != 0 { UNCACHED } else { 0 };
                whose && at == offset && kernel & (READONLY | NOEXEC | UNCACHED) == wanted
            }
        };
        if !right {
            wrong.push(format!("{line}: {:?}", mapped.get(&of(1))));
        }
    }
    (wrong, binds)
}

#[test]
fn after_100_000_binds_of_four_threads_each_page_maps_what_was_asked_for_last() {
    for (kernel, calls) in [("1.9", "2700"), ("1.8-repeat", "300"), ("1.5", "300")] {
        let (printed, dump) = run(kernel, &["random", "11", calls]);
        let (wrong, binds) = wrong_pages(&printed, &dump);
        assert!(
            wrong.is_empty(),
            "{kernel}: {} pages: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
        assert!(
            binds > if kernel == "1.9" { 100_000 } else { 10_000 },
            "{kernel}: {binds}"
        );
    }
}

/// The rule that matters most to a driver: if memory goes unnoticed, binds of what comes on its handle are taken for
/// repetitions.
#[test]
fn a_driver_that_never_says_that_memory_is_gone_is_found_out() {
    let (printed, dump) = run("1.9", &["random", "11", "300", "forget"]);
    let (wrong, _) = wrong_pages(&printed, &dump);
    assert!(!wrong.is_empty());
}

#[test]
fn each_vm_after_the_first_costs_at_most_two_ioctls_to_make() {
    for (kernel, dummies) in [("1.9", 0), ("1.8-repeat", 1), ("1.5", 1)] {
        let counts = |vms: &str| {
            let (_, dump) = run(kernel, &["devices", vms]);
            dump.nodes[0].assert_all_closed();
            dump.nodes[0].calls()
        };
        let (one, four) = (counts("1"), counts("4"));
        let per_vm: BTreeMap<_, _> = four
            .iter()
            .map(|(name, calls)| (name.as_str(), (calls - one[name]) / 3))
            .filter(|(_, calls)| *calls > 0)
            .collect();
        let mut expected = BTreeMap::from([("VM_CREATE", 1), ("VM_DESTROY", 1), ("VERSION", 1)]);
        if dummies > 0 {
            expected.extend([("BO_CREATE", 1), ("GEM_CLOSE", 1)]);
        }
        assert_eq!(per_vm, expected, "{kernel}");
    }
}

#[test]
fn the_dummy_belongs_to_its_vm_alone() {
    let (_, dump) = run("1.5", &["random", "1", "4"]);
    let file = &dump.nodes[0].files;
    let bos = file.iter().flat_map(|file| &file.bos);
    let dummies: Vec<_> = bos.filter(|bo| number(bo, "size") != MEMORY_SIZE).collect();
    assert_eq!(dummies.len(), 1, "{dummies:?}");
    assert_eq!(dummies[0]["exclusive"], true);
}

#[test]
fn a_bind_that_the_kernel_has_no_memory_for_can_be_made_again() {
    // The probe's own binds come first: find the program's by trying.
    let (_, dump) = run("1.9", &["devices", "1"]);
    let probing = dump.nodes[0].count("VM_BIND");
    let (_, dump) = run(
        &format!("1.9,fault=VM_BIND:{}:ENOMEM", probing + 1),
        &["refused"],
    );
    assert_eq!(dump.nodes[0].refused, 1 + refused_by_the_probe());
    let mapped = dump.nodes[0].files.iter().flat_map(|file| &file.vms);
    let mapped: usize = mapped
        .map(|vm| vm["mappings"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(mapped, 1);
}

fn refused_by_the_probe() -> u64 {
    run("1.9", &["devices", "1"]).1.nodes[0].refused
}
