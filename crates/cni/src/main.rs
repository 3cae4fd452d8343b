//! The CNI plugin, as container runtimes call it.

#![forbid(unsafe_code)]

use std::env;
use std::io;
use std::process::ExitCode;

use podway_cni::{Variables, about, run};

fn main() -> ExitCode {
    let variables: Variables = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("CNI_"))
        .collect();
    // A person tried it by hand.
    if !variables.contains_key("CNI_COMMAND") {
        eprintln!("{}", about());
        return ExitCode::SUCCESS;
    }
    let outcome = run(&variables, &mut io::stdin().lock());
    if let Some(output) = outcome.output {
        println!("{output}");
    }
    ExitCode::from(outcome.code)
}
