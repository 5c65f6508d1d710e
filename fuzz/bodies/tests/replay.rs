//! All seeds through all targets, without a fuzzer: what was once found stays found.
//!
//! `MEMRING_SEEDS=write cargo test -p memring-fuzz-bodies --features maps` writes the seeds that the targets
//! make. Others in the folders were found by fuzzing; they stay as they are.

use std::path::PathBuf;

use memring_fuzz_bodies::{TARGETS, Target};

fn folder(target: &Target) -> PathBuf {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../seeds");
    PathBuf::from(seeds).join(target.name)
}

#[test]
fn every_seed_runs() {
    for target in &TARGETS {
        let mut count = 0;
        for entry in std::fs::read_dir(folder(target)).expect("a folder of seeds") {
            let path = entry.expect("an entry").path();
            println!("{}", path.display()); // shown if it fails
            (target.run)(&std::fs::read(&path).expect("a file"));
            count += 1;
        }
        assert!(count >= 20, "{}: {count} seeds", target.name);
    }
}

#[test]
fn every_seed_cut_short_or_with_a_bit_changed_runs() {
    for target in &TARGETS {
        for (_, seed) in (target.seeds)() {
            for len in 0..seed.len() {
                (target.run)(&seed[..len]);
            }
            for at in 0..seed.len() {
                for bit in [0, 1, 4, 7] {
                    let mut changed = seed.clone();
                    changed[at] ^= 1 << bit;
                    (target.run)(&changed);
                }
            }
        }
    }
}

#[test]
fn the_seeds_in_the_folders_are_those_that_the_targets_make() {
    let write = std::env::var_os("MEMRING_SEEDS").is_some();
    for target in &TARGETS {
        let folder = folder(target);
        for (name, seed) in (target.seeds)() {
            let path = folder.join(name);
            if write {
                std::fs::create_dir_all(&folder).expect("a folder");
                std::fs::write(&path, &seed).expect("a file");
            }
            let found = std::fs::read(&path).ok();
            assert_eq!(found.as_deref(), Some(&seed[..]), "{}", path.display());
        }
    }
}
