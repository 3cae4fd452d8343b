use std::fmt;
use std::sync::Arc;

/// One thing that is wrong in a file. Prints as
/// `path:line:column: what is wrong`, the line at fault, and what was probably
/// meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file, as the user named it.
    pub path: Arc<str>,
    /// The line, from 1; 0 where the file as a whole is at fault.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
    /// The line at fault, as it stands.
    pub excerpt: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

impl Mistake {
    /// A mistake of a file as a whole: it cannot be read, for example.
    #[must_use]
    pub fn of_file(path: &str, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: 0,
            column: 0,
            what: what.into(),
            excerpt: String::new(),
            meant: None,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.path, self.what);
        }
        let Self {
            path,
            line,
            column,
            what,
            ..
        } = self;
        write!(f, "{path}:{line}:{column}: {what}")?;
        if !self.excerpt.is_empty() {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let before: String = self
                .excerpt
                .chars()
                .take((*column as usize).saturating_sub(1))
                // A tab stays a tab, so that the mark stands under its place.
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n  {number} | {}\n  {margin} | {before}^", self.excerpt)?;
        }
        if let Some(meant) = &self.meant {
            write!(f, "\n  probably meant: {meant}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the files; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(crate) fn new(mistakes: Vec<Mistake>) -> Self {
        Self(mistakes)
    }

    /// One mistake of a file as a whole: it cannot be read, for example.
    #[must_use]
    pub fn of_file(path: &str, what: impl Into<String>) -> Self {
        Self(vec![Mistake::of_file(path, what)])
    }

    /// The mistakes.
    #[must_use]
    pub fn list(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
