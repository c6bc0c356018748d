//! Faults under the file layer: whatever fails, and whenever the power goes, a good checkpoint is there.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use sensorium_checkpoint::Error;
use sensorium_checkpoint::directory::{latest, retain, save_dir, step_dir, verify};
use sensorium_checkpoint::file::{Disk, FileSystem, write_atomic};
use sensorium_testkit::fault::{Fault, Faulty, Repeat, Unsynced};
use std::path::Path;

const FAULTS: [Fault; 3] = [Fault::Enospc, Fault::Eio, Fault::ShortWrite];
const REPEATS: [Repeat; 2] = [Repeat::Once, Repeat::Forever];
const ENTRIES: [Unsynced; 2] = [Unsynced::Lost, Unsynced::Kept];
const CONTENTS: [Unsynced; 3] = [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn];

/// The file that must be named, and what is done to the newest checkpoint.
type Spoiler<'a> = (&'static str, &'a dyn Fn(&Faulty));

/// Checkpoints, corrupt ones among them, how many to keep, which stay.
type Scenario = (&'static [u64], &'static [u64], usize, &'static [u64]);

/// The run directory of every test in memory.
fn run() -> &'static Path {
    Path::new("run")
}

/// Contents of the files of the checkpoint of `step`; one is longer than a sector, one is empty.
fn contents(step: u64) -> [(&'static str, Vec<u8>); 4] {
    let byte = |i: u64| (i.wrapping_mul(step + 7) % 251) as u8;
    [
        ("weights.safetensors", (0..1500).map(byte).collect()),
        ("optimizer.safetensors", (0..700).map(byte).collect()),
        ("state.json", format!("{{\"step\":{step}}}").into_bytes()),
        ("empty", Vec::new()),
    ]
}

fn save(fs: &impl FileSystem, dir: &Path, step: u64) -> Result<(), Error> {
    let contents = contents(step);
    let files: Vec<(&str, &[u8])> =
        contents.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    save_dir(fs, &step_dir(dir, step), &files)
}

/// A file system with a durable run directory and these checkpoints.
fn with(steps: &[u64]) -> Faulty {
    let fs = Faulty::default();
    fs.create_dir(run()).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    steps.iter().for_each(|&step| save(&fs, run(), step).unwrap());
    fs.heal();
    fs
}

/// The step of the latest checkpoint, whose files must be what was saved.
fn latest_step(fs: &Faulty) -> u64 {
    let found = latest(fs, run()).unwrap().expect("a checkpoint");
    for (name, want) in contents(found.step) {
        let mut got = Vec::new();
        fs.open(&found.dir.join(name)).unwrap().read_to_end(&mut got).unwrap();
        assert_eq!(got, want, "{name}");
    }
    found.step
}

fn has_temp(fs: &Faulty) -> bool {
    fs.list(run()).unwrap().iter().any(|name| name.starts_with('.'))
}

/// Every fault at every operation of `work`, which takes `ops` of them.
fn every_fault(ops: usize, mut check: impl FnMut(usize, Fault, Repeat)) -> usize {
    assert!(ops > 0);
    for op in 0..ops {
        for fault in FAULTS {
            for repeat in REPEATS {
                check(op, fault, repeat);
            }
        }
    }
    ops * FAULTS.len() * REPEATS.len()
}

fn ops_of(fs: &Faulty, work: impl FnOnce(&Faulty)) -> usize {
    fs.heal();
    work(fs);
    fs.ops()
}

#[test]
fn a_fault_at_any_operation_of_a_save_leaves_the_old_or_the_new_checkpoint() {
    let ops = ops_of(&with(&[1, 2]), |fs| save(fs, run(), 3).unwrap());
    let mut fired = 0;
    let cases = every_fault(ops, |op, fault, repeat| {
        let fs = with(&[1, 2]);
        fs.fail(op, fault, repeat);
        let saved = save(&fs, run(), 3);
        fired += fs.fired();
        assert!(fs.fired() > 0, "operation {op} was not reached");
        fs.heal();
        let place = format!("{fault:?} {repeat:?} at {op}: {saved:?}");
        let step = latest_step(&fs);
        assert!(step == 3 || saved.is_err() && step == 2, "{place}: latest is {step}");
        assert!(
            repeat == Repeat::Forever || !has_temp(&fs),
            "{place}: a temporary directory stays"
        );
        // Once there is room again, the same save goes through and old leftovers go.
        save(&fs, run(), 3).unwrap();
        retain(&fs, run(), 3, 2).unwrap();
        assert_eq!(latest_step(&fs), 3, "{place}");
        assert_eq!(fs.list(run()).unwrap(), ["step-000000002", "step-000000003"], "{place}");
    });
    println!("cases {cases}, faults_injected {fired}, failures 0, operations {ops}");
}

#[test]
fn a_power_loss_at_any_operation_of_a_save_leaves_the_old_or_the_new_checkpoint() {
    let ops = ops_of(&with(&[1, 2]), |fs| save(fs, run(), 3).unwrap());
    let mut cases = 0;
    for op in 0..=ops {
        for (entries, data) in ENTRIES.iter().flat_map(|e| CONTENTS.iter().map(move |c| (*e, *c))) {
            for fault in FAULTS {
                let fs = with(&[1, 2]);
                fs.fail(op, fault, Repeat::Forever);
                let saved = save(&fs, run(), 3);
                assert_eq!(saved.is_ok(), op == ops);
                fs.power_loss(entries, data);
                let step = latest_step(&fs);
                assert!(
                    step == 3 || saved.is_err() && step == 2,
                    "{fault:?} at {op}, {entries:?} {data:?}: {step}"
                );
                save(&fs, run(), 4).unwrap();
                fs.power_loss(Unsynced::Lost, Unsynced::Lost);
                assert_eq!(latest_step(&fs), 4);
                cases += 1;
            }
        }
    }
    println!("cases {cases}, failures 0");
}

#[test]
fn a_fault_or_power_loss_in_retention_leaves_two_good_checkpoints() {
    let ops =
        ops_of(&with(&[1, 2, 3, 4]), |fs| assert_eq!(retain(fs, run(), 4, 2).unwrap().len(), 2));
    every_fault(ops, |op, fault, repeat| {
        let fs = with(&[1, 2, 3, 4]);
        fs.fail(op, fault, repeat);
        let _ = retain(&fs, run(), 4, 2);
        assert!(fs.fired() > 0);
        fs.power_loss(Unsynced::Kept, Unsynced::Torn);
        assert_eq!(latest_step(&fs), 4);
        // A fault while reading makes a good checkpoint look bad; that must not cost one of the last two.
        let good = (1..=4).filter(|&step| verify(&fs, &step_dir(run(), step)).is_ok()).count();
        assert!(good >= 2, "{fault:?} {repeat:?} at {op}: {good} left");
        retain(&fs, run(), 4, 2).unwrap();
        assert!(!has_temp(&fs));
    });
}

#[test]
fn the_harness_notices_a_forgotten_sync() {
    let fs = with(&[1]);
    let (temp, dir) = (run().join("temp"), step_dir(run(), 2));
    fs.create_dir(&temp).unwrap();
    for name in
        ["weights.safetensors", "optimizer.safetensors", "state.json", "empty", "manifest.json"]
    {
        let mut bytes = Vec::new();
        fs.open(&step_dir(run(), 1).join(name)).unwrap().read_to_end(&mut bytes).unwrap();
        fs.write(&temp.join(name), &bytes).unwrap();
    }
    fs.rename(&temp, &dir).unwrap();
    verify(&fs, &dir).unwrap();
    // The parent is synced, the directory itself was not: its entries are gone.
    fs.sync_dir(run()).unwrap();
    fs.power_loss(Unsynced::Lost, Unsynced::Lost);
    assert!(verify(&fs, &dir).is_err());
    assert_eq!(latest_step(&fs), 1);
}

#[test]
fn an_atomic_write_leaves_the_old_or_the_new_file() {
    let path = run().join("config.toml");
    let prepared = || {
        let fs = with(&[]);
        write_atomic(&fs, &path, b"old").unwrap();
        fs
    };
    let read = |fs: &Faulty| {
        let mut bytes = Vec::new();
        fs.open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let ops = ops_of(&prepared(), |fs| write_atomic(fs, &path, b"new and longer").unwrap());
    every_fault(ops, |op, fault, repeat| {
        let fs = prepared();
        fs.fail(op, fault, repeat);
        assert!(write_atomic(&fs, &path, b"new and longer").is_err());
        assert!(fs.fired() > 0);
        fs.heal();
        assert!(repeat == Repeat::Forever || !has_temp(&fs), "{fault:?} at {op}");
        for (entries, data) in ENTRIES.iter().flat_map(|e| CONTENTS.iter().map(move |c| (*e, *c))) {
            let fs = prepared();
            fs.fail(op, fault, repeat);
            let _ = write_atomic(&fs, &path, b"new and longer");
            fs.power_loss(entries, data);
            let bytes = read(&fs);
            assert!(bytes == b"old" || bytes == b"new and longer", "{fault:?} at {op}: {bytes:?}");
        }
    });
    let fs = prepared();
    write_atomic(&fs, &path, b"new").unwrap();
    fs.power_loss(Unsynced::Lost, Unsynced::Lost);
    assert_eq!(read(&fs), b"new");
}

#[test]
fn every_flipped_bit_in_the_newest_checkpoint_is_found_and_the_older_one_used() {
    let fs = with(&[1, 2]);
    let newest = step_dir(run(), 2);
    let mut cases = 0;
    for name in fs.list(&newest).unwrap() {
        let path = newest.join(&name);
        let mut bytes = Vec::new();
        fs.open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        for bit in (0..bytes.len() * 8).step_by(7) {
            let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
            fs.corrupt(&path, flip).unwrap();
            let found = latest(&fs, run()).unwrap().unwrap();
            assert_eq!(found.step, 1, "bit {bit} of {name}");
            let text = found.skipped[0].to_string();
            assert!(text.contains("step-000000002") && text.contains(&name), "{text}");
            fs.corrupt(&path, flip).unwrap();
            cases += 1;
        }
    }
    assert_eq!(latest_step(&fs), 2);
    assert!(cases >= 2_000, "{cases}");
}

#[test]
fn truncation_growth_deletion_and_swap_are_found() {
    let newest = step_dir(run(), 2);
    let (a, b) = (newest.join("weights.safetensors"), newest.join("optimizer.safetensors"));
    let spoilers: [Spoiler<'_>; 6] = [
        ("weights.safetensors", &|fs| fs.corrupt(&a, |bytes| bytes.truncate(1499)).unwrap()),
        ("weights.safetensors", &|fs| fs.corrupt(&a, |bytes| bytes.push(0)).unwrap()),
        ("weights.safetensors", &|fs| fs.remove_file(&a).unwrap()),
        ("manifest.json", &|fs| fs.remove_file(&newest.join("manifest.json")).unwrap()),
        ("manifest.json", &|fs| fs.corrupt(&newest.join("manifest.json"), Vec::clear).unwrap()),
        ("weights.safetensors", &|fs| {
            fs.rename(&a, &newest.join("c")).unwrap();
            fs.rename(&b, &a).unwrap();
            fs.rename(&newest.join("c"), &b).unwrap();
        }),
    ];
    for (file, spoil) in spoilers {
        let fs = with(&[1, 2]);
        spoil(&fs);
        let found = latest(&fs, run()).unwrap().unwrap();
        assert_eq!((found.step, found.skipped.len()), (1, 1));
        let Error::Corrupt { file: named, .. } = &found.skipped[0].error else {
            panic!("{:?}", found.skipped)
        };
        assert_eq!(named, file);
        // The run goes on from step 1 and comes to step 2 again: the bad one is replaced.
        save(&fs, run(), 2).unwrap();
        assert_eq!(latest_step(&fs), 2);
    }
}

#[test]
fn a_run_never_starts_from_scratch_silently() {
    let fs = with(&[]);
    assert!(latest(&fs, run()).unwrap().is_none());
    let fs = with(&[1, 2]);
    for step in [1, 2] {
        fs.remove_file(&step_dir(run(), step).join("state.json")).unwrap();
    }
    let text = latest(&fs, run()).unwrap_err().to_string();
    assert!(text.contains("step-000000001") && text.contains("step-000000002"), "{text}");
    assert!(text.contains("state.json: expected") && text.contains("hint:"), "{text}");
    assert!(latest(&fs, Path::new("elsewhere")).is_err());
}

#[test]
fn retention_keeps_two_good_ones_and_deletes_nothing_before_the_new_one_reads() {
    let spoil = |fs: &Faulty, step| {
        fs.corrupt(&step_dir(run(), step).join("state.json"), Vec::clear).unwrap()
    };
    let steps = |fs: &Faulty| -> Vec<String> { fs.list(run()).unwrap() };
    let names = |steps: &[u64]| -> Vec<String> {
        steps.iter().map(|step| format!("step-{step:09}")).collect()
    };
    let scenarios: [Scenario; 9] = [
        (&[1], &[], 2, &[1]),
        (&[1, 2], &[], 0, &[1, 2]),
        (&[1, 2, 3], &[], 0, &[2, 3]),
        (&[1, 2, 3], &[], 1, &[2, 3]),
        (&[1, 2, 3, 4], &[], 3, &[2, 3, 4]),
        (&[1, 2, 3, 4], &[3], 2, &[2, 3, 4]),
        (&[1, 2, 3, 4], &[2, 3], 2, &[1, 2, 3, 4]),
        (&[1, 2, 3, 4], &[1, 2, 3], 2, &[1, 2, 3, 4]),
        (&[9, 10, 100], &[], 2, &[10, 100]),
    ];
    for (all, corrupt, keep, stay) in scenarios {
        let fs = with(all);
        corrupt.iter().for_each(|&step| spoil(&fs, step));
        let deleted = retain(&fs, run(), *all.last().unwrap(), keep).unwrap();
        assert_eq!(steps(&fs), names(stay), "{all:?} {corrupt:?} {keep}");
        assert_eq!(deleted.len(), all.len() - stay.len());
    }
    let fs = with(&[1, 2, 3, 4]);
    spoil(&fs, 4);
    assert!(matches!(retain(&fs, run(), 4, 2), Err(Error::Corrupt { .. })));
    assert_eq!(steps(&fs), names(&[1, 2, 3, 4]));
    // A newer corrupt one, which a fallback passed over, does not stop the run that goes on before it.
    let fs = with(&[1, 2, 3, 9]);
    spoil(&fs, 9);
    retain(&fs, run(), 3, 2).unwrap();
    assert_eq!(steps(&fs), names(&[2, 3, 9]));
}

#[test]
fn saving_the_same_step_again_is_fine_and_saving_another_over_it_is_not() {
    let fs = with(&[1]);
    save(&fs, run(), 1).unwrap();
    let text = save_dir(&fs, &step_dir(run(), 1), &[("other", b"")]).unwrap_err().to_string();
    assert!(text.contains("a valid one with other contents\nhint:"), "{text}");
    assert_eq!(latest_step(&fs), 1);
}

#[test]
fn file_names_stay_inside_the_directory() {
    let fs = with(&[]);
    for name in ["", ".", "..", "../x", "/etc/x", "a/b", "a\\b", "manifest.json", ".hidden"] {
        assert!(save_dir(&fs, &step_dir(run(), 1), &[(name, b"")]).is_err(), "{name}");
    }
    assert!(save_dir(&fs, &step_dir(run(), 1), &[("a", b""), ("a", b"")]).is_err());
    assert!(fs.list(run()).unwrap().is_empty());
}

#[test]
fn the_real_disk_does_the_same() {
    let root = tempfile::tempdir().unwrap();
    for step in 1..=4 {
        save(&Disk, root.path(), step).unwrap();
        retain(&Disk, root.path(), step, 2).unwrap();
    }
    assert_eq!(Disk.list(root.path()).unwrap(), ["step-000000003", "step-000000004"]);
    let path = step_dir(root.path(), 4).join("weights.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[700] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let found = latest(&Disk, root.path()).unwrap().unwrap();
    assert_eq!((found.step, found.skipped.len()), (3, 1));
    save(&Disk, root.path(), 4).unwrap();
    assert_eq!(latest(&Disk, root.path()).unwrap().unwrap().step, 4);

    let file = root.path().join("config.toml");
    write_atomic(&Disk, &file, b"old").unwrap();
    write_atomic(&Disk, &file, b"new").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
    assert!(write_atomic(&Disk, &root.path().join("absent/file"), b"x").is_err());
}
