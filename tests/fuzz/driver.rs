//! libFuzzer before one fuzz target, which LYCHGATE_FUZZ_TARGET names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lychgate::fuzzing::{TARGETS, Target};

const VARIABLE: &str = "LYCHGATE_FUZZ_TARGET";

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var(VARIABLE).unwrap_or_default();
    let known = || TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    *target.unwrap_or_else(|| panic!("{VARIABLE} names no target; there are {}", known()))
});

fuzz_target!(|data: &[u8]| TARGET.1(data));
