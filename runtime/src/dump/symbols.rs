//! From return addresses to names.

use std::collections::HashMap;

/// A function that somebody is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// Its name, if the program has symbols.
    pub function: Option<String>,
    /// The source file, if the program has line tables.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
    /// The return address; the same for functions that were inlined into each other.
    pub address: usize,
}

/// Names that have been looked up.
#[derive(Default)]
pub(super) struct Symbols(HashMap<usize, Vec<Frame>>);

impl Symbols {
    /// What the address stands for: the functions that were inlined there, innermost first.
    pub(super) fn of(&mut self, address: usize) -> &[Frame] {
        self.0.entry(address).or_insert_with(|| resolve(address))
    }

    /// The same for all frames of a stack.
    pub(super) fn of_all(&mut self, addresses: &[usize]) -> Vec<Frame> {
        addresses.iter().flat_map(|pc| self.of(*pc).to_vec()).collect()
    }
}

fn resolve(address: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    #[cfg(feature = "backtrace")]
    backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
        frames.push(Frame {
            function: symbol.name().map(|name| format!("{name:#}")),
            file: symbol.filename().map(|path| path.display().to_string()),
            line: symbol.lineno(),
            address,
        });
    });
    if frames.is_empty() {
        frames.push(Frame { function: None, file: None, line: None, address });
    }
    frames
}

/// The frames without gort's own at both ends: what parks, and what starts a goroutine.
pub(super) fn trim(frames: &[Frame]) -> &[Frame] {
    let machinery = |frame: &&Frame| is_gorts(frame) || is_stds(frame);
    let lead = frames.iter().take_while(machinery).count();
    let begin = frames[..lead].iter().rposition(is_gorts).map_or(0, |i| i + 1);
    let rest = &frames[begin..];
    let Some(end) = rest.iter().rposition(starts) else { return rest };
    let machinery = |frame: &&Frame| is_stds(frame) || starts(frame);
    let between = rest[..end].iter().rev().take_while(machinery).count();
    &rest[..end - between]
}

fn name(frame: &Frame) -> &str {
    frame.function.as_deref().unwrap_or_default().trim_start_matches(['<', '&'])
}

fn file(frame: &Frame) -> &str {
    frame.file.as_deref().unwrap_or_default()
}

/// Whether the function is in a source file of gort's. Where a program has line tables and no more,
/// the names of many functions are without their path.
fn is_in_sources(frame: &Frame) -> bool {
    let sources = file!().trim_end_matches("dump/symbols.rs");
    file(frame).contains(sources)
}

fn is_gorts(frame: &Frame) -> bool {
    let name = name(frame);
    let named = name.starts_with("gort::") || name.contains(" as gort::");
    named || is_in_sources(frame) || is_contexts(frame)
}

/// The crate that switches stacks.
fn is_contexts(frame: &Frame) -> bool {
    name(frame).starts_with("context::") || file(frame).contains("/context-")
}

fn is_stds(frame: &Frame) -> bool {
    let name = name(frame);
    let named = ["std::", "core::", "alloc::", "__rust_try"].iter().any(|it| name.starts_with(it));
    named || file(frame).starts_with("/rustc/")
}

/// What starts a goroutine, or polls a task.
fn starts(frame: &Frame) -> bool {
    ["goroutine", "future"].iter().any(|body| {
        let named = name(frame).strip_prefix("gort::task::").is_some_and(|it| it.starts_with(body));
        named || is_in_sources(frame) && file(frame).ends_with(&format!("task/{body}.rs"))
    })
}
