//! From the user's function to a plain one that runs it on a runtime.
//!
//! ```text
//! #[gort::main(procs = 2)]            fn main() -> R {
//! async fn main() -> R {                  async fn main() -> R {
//!     body                     ==>            body
//! }                                       }
//!                                         use ::gort::__private::MainLocal as _;
//!                                         ::gort::__private::Main(main()).run(
//!                                             ::gort::__private::main_runtime(
//!                                                 ::gort::Builder::new().procs(2usize)))
//!                                     }
//!
//! #[gort::main]                       fn main() -> ::gort::__private::ExitCode {
//! fn main() -> R {                        fn main() -> R {
//!     body                     ==>            body
//! }                                       }
//!                                         ::gort::__private::main_reported(
//!                                             ::gort::__private::main_runtime(
//!                                                 ::gort::Builder::new()),
//!                                             main)
//!                                     }
//! ```
//!
//! The user's function is kept whole, as an item inside the new one. Two things depend on it:
//!
//! - Errors in the body read as they do in any function: a wrong type is shown at the tail
//!   expression together with the declared return type.
//! - `Main::run` chooses by whether the future is `Send`, and rustc can answer that only for a
//!   future whose body has been type-checked. An `async` block in the body of the new function
//!   would be checked together with the call, so the question would come too early.
//!
//! The body of a plain `fn` is a goroutine, on another thread than the caller, so what it returns
//! cannot come back unless it is `Send`; and `Box<dyn Error>`, which every second `main` returns,
//! is not. But all that becomes of the value of a `main` or of a test is an [`ExitCode`] and a
//! line on stderr. The goroutine sees to both, and the new function returns the code. A function
//! under `#[gort::main]` that has another name has a caller who wants the value: there the new
//! function keeps the return type, and the type has to be `Send`.
//!
//! The body itself is never parsed here: it is one group of tokens, and rustc reports what is
//! wrong in it.
//!
//! After an error the output still has a function of that name with the user's code in it, so
//! that editors and rustc's own checks go on, and `main` is not reported as missing.
//!
//! [`ExitCode`]: std::process::ExitCode

use crate::args::Args;
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Result, ReturnType, Signature, Type, Visibility};

/// Which attribute is being expanded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Main,
    Test,
}

impl Entry {
    /// The attribute as messages spell it.
    fn name(self) -> &'static str {
        match self {
            Entry::Main => "`#[gort::main]`",
            Entry::Test => "`#[gort::test]`",
        }
    }
}

/// A function whose body is left unparsed.
struct Function {
    attrs: Vec<Attribute>,
    vis: Visibility,
    sig: Signature,
    body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Ok(Function {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            body: parse_braces(input)?,
        })
    }
}

impl Function {
    fn is_async(&self) -> bool {
        self.sig.asyncness.is_some()
    }

    /// The return type, unless it is `()`.
    fn returned(&self) -> Option<&Type> {
        match &self.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => match &**ty {
                Type::Tuple(tuple) if tuple.elems.is_empty() => None,
                ty => Some(ty),
            },
        }
    }
}

fn parse_braces(input: ParseStream<'_>) -> Result<Group> {
    let span = input.span();
    match input.parse()? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Ok(group),
        _ => Err(Error::new(span, "expected the body of the function")),
    }
}

/// Expands `#[gort::main(args)] item` or `#[gort::test(args)] item`.
pub(crate) fn expand(entry: Entry, args: TokenStream, item: TokenStream) -> TokenStream {
    let function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => return with_error(item, &error),
    };
    if let Err(error) = check(entry, &function) {
        return with_error(shell(&function), &error);
    }
    match parse_args(&function, args) {
        Ok(args) => run(entry, &function, &args),
        Err(error) => with_error(run(entry, &function, &Args::default()), &error),
    }
}

fn parse_args(function: &Function, args: TokenStream) -> Result<Args> {
    let args: Args = syn::parse2(args)?;
    if function.is_async() {
        args.check_for_future()?;
    }
    Ok(args)
}

fn with_error(mut tokens: TokenStream, error: &Error) -> TokenStream {
    tokens.extend(error.to_compile_error());
    tokens
}

fn check(entry: Entry, function: &Function) -> Result<()> {
    check_signature(entry, &function.sig)?;
    match entry {
        Entry::Main => Ok(()),
        Entry::Test => check_only_test(&function.attrs),
    }
}

/// The function needs nothing from its caller, and anybody may call it.
fn check_signature(entry: Entry, sig: &Signature) -> Result<()> {
    let name = entry.name();
    if let Some(constness) = &sig.constness {
        let message = format!("{name} cannot be used on a `const fn`");
        return Err(Error::new_spanned(constness, message));
    }
    if let Some(unsafety) = &sig.unsafety {
        let message = format!("{name} cannot be used on an `unsafe fn`");
        return Err(Error::new_spanned(unsafety, message));
    }
    if let Some(abi) = &sig.abi {
        let message = format!("{name} cannot be used on an `extern fn`");
        return Err(Error::new_spanned(abi, message));
    }
    if !sig.generics.params.is_empty() {
        let message = format!("a function under {name} cannot have generic parameters");
        return Err(Error::new_spanned(&sig.generics, message));
    }
    if let Some(clause) = &sig.generics.where_clause {
        let message = format!("a function under {name} cannot have a `where` clause");
        return Err(Error::new_spanned(clause, message));
    }
    if !sig.inputs.is_empty() {
        let message = format!("a function under {name} cannot have arguments");
        return Err(Error::new_spanned(&sig.inputs, message));
    }
    Ok(())
}

/// Refuses a `#[test]` below `#[gort::test]`: the function would be two tests.
fn check_only_test(attrs: &[Attribute]) -> Result<()> {
    match attrs.iter().find(|attr| is_test(attr)) {
        None => Ok(()),
        Some(attr) => Err(Error::new_spanned(
            attr,
            "`#[gort::test]` makes the function a test already; remove this attribute",
        )),
    }
}

/// `#[test]`, also spelled `#[core::prelude::v1::test]` and with `std`.
fn is_test(attr: &Attribute) -> bool {
    let path = attr.path();
    let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
    match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => path.leading_colon.is_none(),
        ["core" | "std", "prelude", _, "test"] => true,
        _ => false,
    }
}

/// The function that starts a runtime and runs the user's function on it.
fn run(entry: Entry, function: &Function, args: &Args) -> TokenStream {
    let Function { attrs, vis, sig, body } = function;
    let (fn_token, ident) = (&sig.fn_token, &sig.ident);
    let test = (entry == Entry::Test).then(|| quote!(#[::core::prelude::v1::test]));
    let runtime = runtime(entry, args);
    let (output, call) = if function.is_async() {
        (sig.output.to_token_stream(), run_future(ident, args, &runtime))
    } else {
        run_goroutine(entry, function, args, &runtime)
    };
    // `test` comes last, so that the user's own attribute macros see it on the function.
    quote! {
        #(#attrs)*
        #test
        #vis #fn_token #ident() #output {
            #sig #body
            #call
        }
    }
}

/// An expression for the runtime.
fn runtime(entry: Entry, args: &Args) -> TokenStream {
    let gort = &args.gort;
    let procs = args.procs.map(|n| quote!(.procs(#n)));
    let stack_size = args.stack_size.as_ref().map(|(_, bytes)| quote!(.stack_size(#bytes)));
    let start_paused = args.start_paused.map(|yes| quote!(.start_paused(#yes)));
    let mut builder = quote!(#gort::Builder::new() #procs #stack_size #start_paused);
    if let Some(migrate) = &args.migrate {
        // SAFETY: of the code that is made: the user's `unsafe(migrate)` promises what the function
        // asks for. It stands at that word, so that the lint `unsafe_code` sees it; at the keyword
        // clippy would ask for a comment in a body that the user has not written.
        builder = quote_spanned! {migrate.span()=>
            unsafe { #gort::Builder::migrate_goroutines(#builder) }
        };
    }
    match entry {
        Entry::Main => quote!(#gort::__private::main_runtime(#builder)),
        Entry::Test => quote!(#gort::__private::test_runtime(#builder)),
    }
}

/// The call for an `async fn`.
fn run_future(ident: &Ident, args: &Args, runtime: &TokenStream) -> TokenStream {
    let gort = &args.gort;
    quote! {
        use #gort::__private::MainLocal as _;
        #gort::__private::Main(#ident()).run(#runtime)
    }
}

/// The return type and the call for a plain `fn`.
fn run_goroutine(
    entry: Entry,
    function: &Function,
    args: &Args,
    runtime: &TokenStream,
) -> (TokenStream, TokenStream) {
    let (gort, ident) = (&args.gort, &function.sig.ident);
    let returned = function.returned();
    let becomes_code = returned.is_some() && (entry == Entry::Test || ident == "main");
    let (output, path) = if becomes_code {
        (quote!(-> #gort::__private::ExitCode), quote!(#gort::__private::main_reported))
    } else {
        let output = function.sig.output.to_token_stream();
        (output, quote!(#gort::__private::main_goroutine))
    };
    // A type that the call does not take is reported where the user has written it.
    let span = returned.map_or(ident.span(), Spanned::span);
    (output, located_at(quote!(#path(#runtime, #ident)), span))
}

/// An expression that means the same, but stands at `span` in error messages.
fn located_at(expression: TokenStream, span: Span) -> TokenStream {
    let at_span = |mut token: TokenTree| {
        token.set_span(token.span().located_at(span));
        token
    };
    expression.into_iter().map(at_span).collect()
}

/// The output for a function that cannot be run: its code inside a function of its name.
fn shell(function: &Function) -> TokenStream {
    let Function { attrs, vis, sig, body } = function;
    let (fn_token, ident) = (&sig.fn_token, &sig.ident);
    quote! {
        #(#attrs)*
        #vis #fn_token #ident() {
            #sig #body
        }
    }
}
