//! What a person sees: colours on a terminal only, errors with their causes.

use std::io::IsTerminal;

/// Colours for one stream: on a terminal, unless `NO_COLOR` is set
/// (<https://no-color.org>).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    enabled: bool,
}

impl Palette {
    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self::new(std::io::stdout().is_terminal())
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self::new(std::io::stderr().is_terminal())
    }

    fn new(terminal: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            enabled: terminal && !unwanted,
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.enabled {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Prints an error and its causes, outermost first, each once.
pub(crate) fn report(error: &anyhow::Error) {
    let palette = Palette::stderr();
    let mut printed = error.to_string();
    let mut text = printed.clone();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !printed.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        printed = cause;
    }
    // A finding in a file begins with its position, so that editors jump to it.
    if text.split(':').nth(1).is_some_and(is_number) {
        eprintln!("{text}");
    } else {
        eprintln!("{} {text}", palette.red("error:"));
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Left-aligned columns, two blanks apart, as kubectl prints them.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0))
        .map(|i| {
            rows.iter()
                .filter_map(|row| row.get(i))
                .map(|cell| cell.chars().count())
                .max()
        })
        .map(|width| width.unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}   "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["NODE", "STATE"], ["node1", "ok"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows), "NODE    STATE\nnode1   ok\n");
    }
}
