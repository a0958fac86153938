//! The arguments of the attributes: a list of `name = value`, and `unsafe(migrate)`.
//!
//! Each error is placed at the token that is wrong: the name when it is not known or comes
//! twice, the value when its shape or size is wrong.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, LitBool, LitInt, LitStr, Path, Result, Token, parenthesized, parse_quote, token};

const KNOWN: &str = "`procs`, `worker_threads`, `stack_size`, `start_paused`, `unsafe(migrate)`, \
                     `crate`";

/// What the attribute asks for.
pub(crate) struct Args {
    /// The number for `Builder::procs`; `None` leaves the builder's default.
    pub(crate) procs: Option<usize>,
    /// The number for `Builder::stack_size`, with the name it was given under.
    pub(crate) stack_size: Option<(Ident, usize)>,
    /// The value for `Builder::start_paused`.
    pub(crate) start_paused: Option<bool>,
    /// The word in `unsafe(migrate)`.
    pub(crate) migrate: Option<Ident>,
    /// The path of the `gort` crate.
    pub(crate) gort: Path,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            procs: None,
            stack_size: None,
            start_paused: None,
            migrate: None,
            gort: parse_quote!(::gort),
        }
    }
}

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut args = Args::default();
        let mut seen = Vec::new();
        while !input.is_empty() {
            args.parse_one(input, &mut seen)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(args)
    }
}

impl Args {
    /// Refuses what has no meaning for an `async fn`.
    pub(crate) fn check_for_future(&self) -> Result<()> {
        match &self.stack_size {
            None => Ok(()),
            Some((name, _)) => Err(Error::new(
                name.span(),
                "only goroutines have a stack of their own: `stack_size` is for a plain `fn`, \
                 and this is an `async fn`",
            )),
        }
    }

    fn parse_one(&mut self, input: ParseStream<'_>, seen: &mut Vec<&'static str>) -> Result<()> {
        let name = input
            .call(Ident::parse_any)
            .map_err(|e| Error::new(e.span(), format!("expected one of the arguments {KNOWN}")))?;
        let spelled = name.to_string();
        match spelled.as_str() {
            "procs" | "worker_threads" => {
                once(&name, "procs", seen)?;
                value_follows(&name, "4", input)?;
                self.procs = Some(parse_procs(&name, input)?);
            }
            "stack_size" => {
                once(&name, "stack_size", seen)?;
                value_follows(&name, "65536", input)?;
                let (_, bytes) = parse_integer(&name, "65536", input)?;
                self.stack_size = Some((name, bytes));
            }
            "start_paused" => {
                once(&name, "start_paused", seen)?;
                value_follows(&name, "true", input)?;
                let value = input
                    .parse::<LitBool>()
                    .map_err(|e| Error::new(e.span(), "`start_paused` takes `true` or `false`"))?;
                self.start_paused = Some(value.value);
            }
            "unsafe" => {
                once(&name, "unsafe(migrate)", seen)?;
                self.migrate = Some(parse_migrate(&name, input)?);
            }
            "crate" => {
                once(&name, "crate", seen)?;
                value_follows(&name, "::gort", input)?;
                self.gort = parse_path(input)?;
            }
            _ => return Err(unknown(&name)),
        }
        Ok(())
    }
}

/// Refuses an argument given before, under this or its other name.
fn once(name: &Ident, argument: &'static str, seen: &mut Vec<&'static str>) -> Result<()> {
    if !seen.contains(&argument) {
        seen.push(argument);
        return Ok(());
    }
    let message = if name == "worker_threads" {
        "`procs` is set twice (`worker_threads` is another name of it)".to_owned()
    } else {
        format!("`{argument}` is set twice")
    };
    Err(Error::new(name.span(), message))
}

/// Takes the `=` after a name, and sees that something comes after it.
fn value_follows(name: &Ident, example: &str, input: ParseStream<'_>) -> Result<()> {
    if input.parse::<Option<Token![=]>>()?.is_some() && !input.is_empty() {
        return Ok(());
    }
    let message = format!("`{name}` needs a value, such as `{name} = {example}`");
    Err(Error::new(name.span(), message))
}

/// An integer literal of at least 1.
fn parse_procs(name: &Ident, input: ParseStream<'_>) -> Result<usize> {
    match parse_integer(name, "4", input)? {
        (literal, 0) => {
            let message = format!("`{name}` must be at least 1: with none, nothing can run");
            Err(Error::new(literal.span(), message))
        }
        (_, procs) => Ok(procs),
    }
}

/// An integer literal, and its number.
fn parse_integer(name: &Ident, example: &str, input: ParseStream<'_>) -> Result<(LitInt, usize)> {
    // `LitInt` would take a minus sign, and then report the digits.
    if input.peek(Token![-]) || !input.peek(LitInt) {
        let message = format!("`{name}` takes an integer literal, such as `{name} = {example}`");
        return Err(input.error(message));
    }
    let literal: LitInt = input.parse()?;
    match literal.base10_parse() {
        Ok(number) => Ok((literal, number)),
        Err(_) => Err(Error::new(literal.span(), format!("`{name}` is too large"))),
    }
}

/// What follows `unsafe`: `(migrate)`, and nothing else.
fn parse_migrate(keyword: &Ident, input: ParseStream<'_>) -> Result<Ident> {
    const MESSAGE: &str = "the one unsafe argument is `unsafe(migrate)`";
    if !input.peek(token::Paren) {
        return Err(Error::new(keyword.span(), MESSAGE));
    }
    let inside;
    parenthesized!(inside in input);
    match inside.call(Ident::parse_any) {
        Ok(name) if name == "migrate" && inside.is_empty() => Ok(name),
        Ok(name) if name == "migrate" => Err(inside.error(MESSAGE)),
        Ok(name) => Err(Error::new(name.span(), MESSAGE)),
        Err(error) => Err(Error::new(error.span(), MESSAGE)),
    }
}

/// A path, or one in quotes, which is how tokio's macros take it.
fn parse_path(input: ParseStream<'_>) -> Result<Path> {
    let span = input.span();
    let path = if input.peek(LitStr) {
        input.parse::<LitStr>()?.parse_with(Path::parse_mod_style)
    } else {
        input.call(Path::parse_mod_style)
    };
    path.map_err(|_| Error::new(span, "`crate` takes a path, such as `crate = ::gort`"))
}

fn unknown(name: &Ident) -> Error {
    let message = match name.to_string().as_str() {
        "flavor" => "gort has one kind of runtime and no `flavor`; \
                     write `procs = 1` to run one task at a time"
            .to_owned(),
        "migrate" => "`migrate` comes with a contract to keep (see \
                      `gort::Builder::migrate_goroutines`); write `unsafe(migrate)`"
            .to_owned(),
        unknown => format!("unknown argument `{unknown}`; expected one of {KNOWN}"),
    };
    Error::new(name.span(), message)
}
