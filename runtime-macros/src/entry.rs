//! From an `async fn` to a plain one that runs it on a runtime.
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
//! ```
//!
//! The user's function is kept whole, as an item inside the new one. Two things depend on it:
//!
//! - Errors in the body read as they do in any `async fn`: a wrong type is shown at the tail
//!   expression together with the declared return type.
//! - `Main::run` chooses by whether the future is `Send`, and rustc can answer that only for a
//!   future whose body has been type-checked. An `async` block in the body of the new function
//!   would be checked together with the call, so the question would come too early.
//!
//! The body itself is never parsed here: it is one group of tokens, and rustc reports what is
//! wrong in it.
//!
//! After an error the output still has a function of that name with the user's code in it, so
//! that editors and rustc's own checks go on, and `main` is not reported as missing.

use crate::args::Args;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Result, Signature, Visibility};

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
    match syn::parse2(args) {
        Ok(args) => run_future(entry, &function, &args),
        Err(error) => with_error(run_future(entry, &function, &Args::default()), &error),
    }
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

/// The function needs nothing from its caller and is one that a future can be made of.
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
    if sig.asyncness.is_none() {
        let message = format!(
            "{name} needs an `async fn`: \
             the `async` keyword is missing from the function declaration"
        );
        return Err(Error::new_spanned(sig.fn_token, message));
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

/// The expansion for an `async fn`.
fn run_future(entry: Entry, function: &Function, args: &Args) -> TokenStream {
    let Function { attrs, vis, sig, body } = function;
    let (fn_token, ident, output) = (&sig.fn_token, &sig.ident, &sig.output);
    let gort = &args.gort;
    let procs = args.procs.map(|n| quote!(.procs(#n)));
    let (test, runtime) = match entry {
        Entry::Main => (None, quote!(main_runtime)),
        Entry::Test => (Some(quote!(#[::core::prelude::v1::test])), quote!(test_runtime)),
    };
    // `test` comes last, so that the user's own attribute macros see it on the function.
    quote! {
        #(#attrs)*
        #test
        #vis #fn_token #ident() #output {
            #sig #body
            use #gort::__private::MainLocal as _;
            #gort::__private::Main(#ident()).run(
                #gort::__private::#runtime(#gort::Builder::new() #procs)
            )
        }
    }
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
