//! What is wrong with a run file, and where: every problem found, each with its place and its cure.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, SourceCode};

/// Every problem found in one run file and its overrides; never empty.
#[derive(Debug, Clone)]
pub struct SpecError {
    problems: Vec<Problem>,
}

/// One problem. Its plain form is `file:line:column: message`.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What is wrong, naming the key.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The bytes of [`Problem::text`] it is about; `None` when it is about the whole.
    pub span: Option<Range<usize>>,
    source: Arc<Source>,
}

/// A text that keys came from: the run file, or one `--set` argument.
#[derive(Debug)]
pub(super) struct Source {
    /// Path of the run file, or `--set`.
    pub(super) name: String,
    /// Whether this is an argument of the command line.
    pub(super) argument: bool,
    pub(super) text: String,
}

/// A place in a source.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
}

impl SpecError {
    /// Bundles problems; `None` when there are none.
    pub(super) fn new(mut problems: Vec<Problem>) -> Option<SpecError> {
        problems
            .sort_by_key(|problem| (problem.source.argument, problem.span.clone().map(|span| span.start)));
        (!problems.is_empty()).then_some(SpecError { problems })
    }

    /// The problems in reading order; those of `--set` arguments last.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for SpecError {
    fn from(problem: Problem) -> SpecError {
        SpecError { problems: vec![problem] }
    }
}

impl Problem {
    pub(super) fn at(at: &At, message: impl Into<String>) -> Problem {
        Problem {
            message: message.into(),
            help: None,
            span: Some(at.span.clone()),
            source: Arc::clone(&at.source),
        }
    }

    pub(super) fn whole(source: &Arc<Source>, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), help: None, span: None, source: Arc::clone(source) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// The text the span points into.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// Path of the run file, or `--set`.
    pub fn source_name(&self) -> &str {
        &self.source.name
    }

    /// Line and column, both from 1; `None` for a problem of the whole file or of a `--set` argument.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let start = self.span.as_ref().filter(|_| !self.source.argument)?.start;
        let before = self.source.text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.as_ref().map(|_| &*self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &miette::SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let contents = self.text.read_span(span, before, after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.name.clone(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            match (problem.line_column(), problem.source.argument) {
                (Some((line, column)), _) => {
                    write!(f, "{separator}{}:{line}:{column}: {problem}", problem.source.name)?;
                }
                (None, true) => write!(f, "{separator}--set {}: {problem}", problem.source.text)?,
                (None, false) => write!(f, "{separator}{}: {problem}", problem.source.name)?,
            }
            if let Some(help) = &problem.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}

impl Diagnostic for SpecError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}
