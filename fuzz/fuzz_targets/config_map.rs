//! The text of an administrator.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podway_plan::announce::parse_config_map;

fuzz_target!(|text: &str| {
    let _ = parse_config_map(text);
});
