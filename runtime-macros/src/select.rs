//! From the arms of a `select!` to a wait for its cases, and a `match` on what came of it.
//!
//! ```text
//! select! {                               {
//!     recv(rx) -> msg => a,                   let r0: &Receiver<_> = &rx;
//!     send(tx, value) -> res => b,            let r1: &Sender<_> = &tx;
//!     default => c,                           enum Selected<C0, C1> { C0(C0), C1(C1), Default }
//! }                                           match {
//!                                                 let select = pin!(Selecting::new(None));
//!                                                 let c0 = pin!(RecvCase::new(r0));
//!                                   ==>           let c1 = pin!(SendCase::new(r1));
//!                                                 let chosen = select.try_now([c0, c1]);
//!                                                 let chosen = match chosen {
//!                                                     0 => Selected::C0(c0.take()),
//!                                                     1 => Selected::C1(c1.promise()),
//!                                                     _ => Selected::Default,
//!                                                 };
//!                                                 chosen
//!                                             } {
//!                                                 Selected::C0(it) => { let msg = it; a }
//!                                                 Selected::C1(it) => { let res = it.send(value); b }
//!                                                 Selected::Default => c,
//!                                             }
//!                                         }
//! ```
//!
//! The bodies stand outside of everything that waits, so `return`, `break`, `?` and `.await` in
//! them mean what they mean beside the macro, and the channels are free again. The handles are
//! evaluated once, in their order; a value only when its case has been chosen.
//!
//! The names are hygienic, but for that of the enum, which is an item; its own scope hides it.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Pat, Result, Token, braced, parenthesized, token};

const KNOWN: &str = "`recv(receiver) -> pattern => ...`, `send(sender, value) -> pattern => ...`, \
                     `default => ...` or `default(duration) => ...`";

/// Which macro is being expanded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `select!`
    Block,
    /// `select_async!`
    Await,
}

/// What the macro is given: the crate, and the arms in braces.
struct Select {
    gort: TokenTree,
    cases: Vec<Case>,
    default: Option<Default>,
}

/// `recv(handle) -> pattern => body` or `send(handle, value) -> pattern => body`.
struct Case {
    handle: Expr,
    /// Of a send.
    value: Option<Expr>,
    pattern: Pat,
    body: Expr,
}

/// `default => body` or `default(limit) => body`.
struct Default {
    limit: Option<Expr>,
    body: Expr,
}

impl Parse for Select {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let gort = input.parse()?;
        let arms;
        braced!(arms in input);
        let mut select = Select { gort, cases: Vec::new(), default: None };
        while !arms.is_empty() {
            select.parse_arm(&arms)?;
        }
        Ok(select)
    }
}

impl Select {
    fn parse_arm(&mut self, input: ParseStream<'_>) -> Result<()> {
        let expected = |e: Error| Error::new(e.span(), format!("expected {KNOWN}"));
        let name: Ident = input.parse().map_err(expected)?;
        match name.to_string().as_str() {
            "recv" | "send" => {
                let case = Case::parse(&name, input)?;
                let block = is_block(&case.body);
                self.cases.push(case);
                end_of_arm(block, input)
            }
            "default" => {
                let default = Default::parse(&name, input)?;
                let block = is_block(&default.body);
                if self.default.replace(default).is_some() {
                    return Err(Error::new(name.span(), "a select has one `default` at most"));
                }
                end_of_arm(block, input)
            }
            other => {
                let message = format!("unknown operation `{other}`; expected {KNOWN}");
                Err(Error::new(name.span(), message))
            }
        }
    }
}

impl Case {
    fn parse(name: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let (handle, value) = if name == "recv" {
            (parse_recv(name, input)?, None)
        } else {
            let (handle, value) = parse_send(name, input)?;
            (handle, Some(value))
        };
        if input.parse::<Option<Token![->]>>()?.is_none() {
            let message = format!("expected `-> pattern` after `{name}(..)`; `-> _` ignores it");
            return Err(input.error(message));
        }
        let pattern = Pat::parse_single(input)?;
        let body = parse_body(input)?;
        Ok(Case { handle, value, pattern, body })
    }
}

impl Default {
    fn parse(name: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let mut limit = None;
        if input.peek(token::Paren) {
            let inside;
            parenthesized!(inside in input);
            if !inside.is_empty() {
                limit = Some(inside.parse()?);
                inside.parse::<Option<Token![,]>>()?;
            }
            if !inside.is_empty() {
                return Err(inside.error("`default` takes one duration"));
            }
        }
        if input.peek(Token![->]) {
            return Err(Error::new(name.span(), "`default` has no result to name with `->`"));
        }
        let body = parse_body(input)?;
        Ok(Default { limit, body })
    }
}

fn parse_recv(name: &Ident, input: ParseStream<'_>) -> Result<Expr> {
    const MESSAGE: &str = "`recv` takes a receiver: `recv(receiver)`";
    let inside = arguments(name, MESSAGE, input)?;
    let handle = inside.handle;
    if inside.value.is_some() {
        return Err(Error::new(name.span(), MESSAGE));
    }
    Ok(handle)
}

fn parse_send(name: &Ident, input: ParseStream<'_>) -> Result<(Expr, Expr)> {
    const MESSAGE: &str = "`send` takes a sender and a value: `send(sender, value)`";
    let inside = arguments(name, MESSAGE, input)?;
    match inside.value {
        Some(value) => Ok((inside.handle, value)),
        None => Err(Error::new(name.span(), MESSAGE)),
    }
}

/// One or two expressions in parentheses.
struct Arguments {
    handle: Expr,
    value: Option<Expr>,
}

fn arguments(name: &Ident, message: &str, input: ParseStream<'_>) -> Result<Arguments> {
    if !input.peek(token::Paren) {
        return Err(Error::new(name.span(), message));
    }
    let inside;
    parenthesized!(inside in input);
    if inside.is_empty() {
        return Err(Error::new(name.span(), message));
    }
    let handle = inside.parse()?;
    let mut value = None;
    if inside.parse::<Option<Token![,]>>()?.is_some() && !inside.is_empty() {
        value = Some(inside.parse()?);
        inside.parse::<Option<Token![,]>>()?;
    }
    if !inside.is_empty() {
        return Err(inside.error(message));
    }
    Ok(Arguments { handle, value })
}

fn parse_body(input: ParseStream<'_>) -> Result<Expr> {
    if input.parse::<Option<Token![=>]>>()?.is_none() {
        return Err(input.error("expected `=>` and what to do then"));
    }
    Expr::parse_with_earlier_boundary_rule(input)
}

/// As in a `match`, a block needs no comma after it.
fn is_block(body: &Expr) -> bool {
    matches!(
        body,
        Expr::Block(_)
            | Expr::If(_)
            | Expr::Match(_)
            | Expr::Loop(_)
            | Expr::While(_)
            | Expr::ForLoop(_)
            | Expr::Unsafe(_)
    )
}

fn end_of_arm(block: bool, input: ParseStream<'_>) -> Result<()> {
    let comma = input.parse::<Option<Token![,]>>()?.is_some();
    if comma || block || input.is_empty() {
        return Ok(());
    }
    Err(input.error("expected `,` between the arms of a select"))
}

/// Expands `select!` or `select_async!`.
pub(crate) fn expand(mode: Mode, input: TokenStream) -> TokenStream {
    match syn::parse2::<Select>(input) {
        Ok(select) if select.cases.is_empty() && select.default.is_none() => {
            for_ever(mode, &select.gort)
        }
        Ok(select) => select.expand(mode),
        Err(error) => error.to_compile_error(),
    }
}

/// Without arms there is nothing to wait for.
fn for_ever(mode: Mode, gort: &TokenTree) -> TokenStream {
    let pending = quote!(::core::future::pending::<::core::convert::Infallible>());
    match mode {
        Mode::Block => quote!(match #gort::block_on(#pending) {}),
        Mode::Await => quote!(match #pending.await {}),
    }
}

/// The names of a case's variables.
struct Names {
    handle: Ident,
    case: Ident,
    variant: Ident,
}

impl Names {
    fn of(i: usize) -> Names {
        let span = Span::mixed_site();
        Names {
            handle: Ident::new(&format!("handle{i}"), span),
            case: Ident::new(&format!("case{i}"), span),
            variant: format_ident!("C{i}"),
        }
    }
}

impl Select {
    fn expand(&self, mode: Mode) -> TokenStream {
        let names: Vec<Names> = (0..self.cases.len()).map(Names::of).collect();
        let each = || self.cases.iter().zip(&names);
        let handles = each().map(|(case, names)| self.handle(case, names));
        let variants: Vec<_> = names.iter().map(|names| &names.variant).collect();
        let arms = each().map(|(case, names)| arm(case, names));
        let default = self.default.as_ref().map(|default| {
            let body = &default.body;
            quote!(__GortSelected::Default => #body,)
        });
        let default_variant = self.default.as_ref().map(|_| quote!(Default,));
        let chosen = self.chosen(mode, &names);
        quote! {{
            #(#handles)*
            enum __GortSelected<#(#variants),*> {
                #(#variants(#variants),)*
                #default_variant
            }
            match #chosen {
                #(#arms)*
                #default
            }
        }}
    }

    /// `let handle = &receiver; let handle: &Receiver<_> = handle;`: a reference, or one to that,
    /// whose type is not asked of the expression itself. Errors are at the user's expression.
    fn handle(&self, case: &Case, names: &Names) -> TokenStream {
        let (gort, name, handle) = (&self.gort, &names.handle, &case.handle);
        let span = handle.span();
        let side = Ident::new(if case.value.is_some() { "Sender" } else { "Receiver" }, span);
        let name = Ident::new(&name.to_string(), Span::mixed_site().located_at(span));
        quote_spanned! {span=>
            let #name = &#handle;
            let #name: &#gort::chan::#side<_> = #name;
        }
    }

    /// The block that waits, and completes the case that was chosen.
    fn chosen(&self, mode: Mode, names: &[Names]) -> TokenStream {
        let gort = &self.gort;
        let [select, chosen, cx] =
            ["select", "chosen", "cx"].map(|name| Ident::new(name, Span::mixed_site()));
        let pins = self.cases.iter().zip(names).map(|(case, Names { handle, case: name, .. })| {
            let kind =
                format_ident!("{}", if case.value.is_some() { "SendCase" } else { "RecvCase" });
            quote! {
                let #name = ::core::pin::pin!(#gort::__private::select::#kind::new(#handle));
                let #name = #name.as_ref();
            }
        });
        let completions = self.cases.iter().zip(names).enumerate().map(|(i, (case, names))| {
            let Names { case: name, variant, .. } = names;
            let result = if case.value.is_some() { quote!(promise) } else { quote!(take) };
            quote!(#i => __GortSelected::#variant(#name.#result()),)
        });
        let otherwise = match self.default {
            Some(_) => quote!(__GortSelected::Default),
            None => quote!(#gort::__private::select::no_default()),
        };
        let limit = match self.default.as_ref().and_then(|default| default.limit.as_ref()) {
            Some(limit) => quote!(::core::option::Option::Some(#limit)),
            None => quote!(::core::option::Option::None),
        };
        let cases = names.iter().map(|names| &names.case);
        let cases = quote!([#(#cases.any()),*]);
        let at_once = self.default.as_ref().is_some_and(|default| default.limit.is_none());
        let wait = match mode {
            _ if at_once => quote!(#select.try_now(#cases)),
            Mode::Block => quote!(#select.wait(#cases)),
            Mode::Await => {
                quote!(::core::future::poll_fn(|#cx| #select.poll(#cases, #cx)).await)
            }
        };
        quote! {{
            let #select = ::core::pin::pin!(#gort::__private::select::Selecting::new(#limit));
            let #select = #select.as_ref();
            #(#pins)*
            let #chosen = #wait;
            let #chosen = match #chosen {
                #(#completions)*
                _ => #otherwise,
            };
            #chosen
        }}
    }
}

/// `Selected::C0(it) => { let pattern = it; body }`, with `it.send(value)` in a send.
fn arm(case: &Case, names: &Names) -> TokenStream {
    let Case { value, pattern, body, .. } = case;
    let variant = &names.variant;
    let it = Ident::new("it", Span::mixed_site());
    let result = match value {
        None => it.to_token_stream(),
        Some(value) => quote_spanned!(value.span()=> #it.send(#value)),
    };
    quote! {
        __GortSelected::#variant(#it) => {
            let #pattern = #result;
            #body
        }
    }
}
