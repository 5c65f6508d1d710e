//! `memring demo cache` as people use it.

mod support;

use std::fs;

use support::{Scratch, memring, one_line, run, shell};

#[test]
fn the_cache_s_report_has_every_size_every_kind_of_request_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let demo = |more: &[&str]| {
        let output = run(memring()
            .args(["demo", "cache", "--sizes", "4K,100K,1M", "--spread", "300K"])
            .args(["--rounds", "2", "--requests", "21"])
            .args(more)
            .env("TMPDIR", scratch.directory()));
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        output.stdout
    };
    let text = String::from_utf8(demo(&[])).unwrap();
    for part in ["75 of 4 KiB", "3 of 100 KiB", "first p50", "hash alone", "largest over smallest"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    for more in [&["--wait", "park"][..], &["--all", "--pages", "usual"]] {
        let json = demo(&[&["--json"], more].concat());
        let report: serde_json::Value = serde_json::from_slice(&json).unwrap();
        for (size, bytes) in
            report["sizes"].as_array().unwrap().iter().zip([4096, 102_400, 1 << 20])
        {
            assert_eq!(size["bytes"], bytes);
            assert_eq!(size["first"]["count"], 2);
            assert_eq!(size["repeated"]["count"], 21);
            assert_eq!(size["alone"]["count"], 21);
            assert_eq!(size["socket"]["count"], 2);
            assert!(size["socket_over_repeated"].as_f64().unwrap() > 0.0);
        }
        assert!(report["largest_over_smallest"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
}

#[test]
fn bad_sizes_and_sizes_beyond_this_machine_are_one_line() {
    for (sizes, line) in [("0", "from 1 to"), ("7x", "no unit"), ("2000G", "from 1 to"), ("", "")] {
        let output = run(memring().args(["demo", "cache", "--sizes", sizes]));
        assert!(one_line(&output, 2).contains(line), "{sizes}");
    }
    // A limit that the server inherits, and meets when it makes the file.
    let output = shell("ulimit -f 1024; exec \"$0\" demo cache --sizes 1M --rounds 1 --requests 1");
    let line = one_line(&output, 1);
    assert!(
        line.contains("the cache cannot hold 1 MiB") && line.contains("RLIMIT_FSIZE"),
        "{line}"
    );
}
