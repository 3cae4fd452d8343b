//! `podway bench`: each figure as it is known, or all of them as JSON.

use std::io::Write;
use std::process::ExitCode;

use podway_bench::{Extent, Line, SUITES, Suite};

use crate::cli::{BenchArgs, Output};
use crate::terminal::Palette;

/// Exit code 1 where a target is missed.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let wanted = |suite: &&Suite| {
        args.suites.is_empty() || args.suites.iter().any(|name| name == suite.name)
    };
    let suites: Vec<Suite> = SUITES.iter().filter(wanted).copied().collect();
    let extent = if args.full {
        Extent::Full
    } else {
        Extent::Short
    };
    let palette = Palette::stdout();
    let mut told = |line: &Line| {
        if args.output == Output::Text {
            let text = line.to_string();
            println!(
                "{}",
                match line.met {
                    Some(true) => palette.green(&text),
                    Some(false) => palette.red(&text),
                    None => text,
                }
            );
        }
    };
    let report = podway_bench::run(&suites, extent, &mut told)?;
    if args.output == Output::Json {
        writeln!(
            std::io::stdout(),
            "{}",
            serde_json::to_string_pretty(&report)?
        )?;
    }
    Ok(if report.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
