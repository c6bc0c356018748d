//! Help is a promise: it changes only on purpose.

use crate::fixture::succeeds;

#[test]
fn help_of_the_command() {
    assert_eq!(succeeds(&["--help"]), include_str!("help/sensorium.txt"));
}

#[test]
fn help_of_ask() {
    assert_eq!(succeeds(&["ask", "--help"]), include_str!("help/ask.txt"));
}

#[test]
fn help_of_run() {
    assert_eq!(succeeds(&["run", "--help"]), include_str!("help/run.txt"));
}

#[test]
fn help_of_transcribe() {
    assert_eq!(succeeds(&["transcribe", "--help"]), include_str!("help/transcribe.txt"));
}

#[test]
fn help_of_eval() {
    assert_eq!(succeeds(&["eval", "--help"]), include_str!("help/eval.txt"));
}

#[test]
fn every_help_has_an_example() {
    let commands: &[&[&str]] = &[
        &["ask"],
        &["caption"],
        &["classify"],
        &["embed"],
        &["models"],
        &["pull"],
        &["score"],
        &["chat"],
        &["run"],
        &["transcribe"],
        &["train"],
        &["plot"],
        &["watch"],
        &["eval"],
        &["info"],
        &["inspect"],
        &["data", "preview"],
        &["export"],
        &["convert"],
    ];
    for &command in commands {
        let help = succeeds(&[command, &["--help"]].concat());
        assert!(help.contains("Example") && help.contains("--model"), "{help}");
        for option in ["--seed", "--threads"] {
            assert!(help.contains(option), "{command:?}: {help}");
        }
    }
}
