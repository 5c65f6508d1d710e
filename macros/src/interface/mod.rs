//! A declaration of an interface, read and checked.
//!
//! Why apart from the expansion: what is refused here, and where the error points, is what people see.

pub(crate) mod expand;

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ItemTrait, LitStr, Pat, Path, PathArguments,
    Result, ReturnType, Token, TraitItem, TraitItemFn, Type, Visibility, parse_quote,
};

use crate::errors::Errors;

/// Bytes of a name, and of a version, at most: see section 15 of the protocol.
const MAX_NAME: usize = 128;
const MAX_VERSION: usize = 64;
/// Methods and signals, at most.
const MAX_MEMBERS: usize = 1024;

/// The arguments of `#[interface(...)]`.
pub(crate) struct Arguments {
    /// Where memring is found.
    pub(crate) path: Path,
    pub(crate) name: LitStr,
    pub(crate) version: LitStr,
    /// The word that has all methods take JSON.
    pub(crate) json: Option<Ident>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let (mut path, mut name, mut version) = (parse_quote!(::memring), None, None);
        let mut json = None;
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            let twice = (key == "name" && name.is_some())
                || (key == "version" && version.is_some())
                || (key == "json" && json.is_some());
            if twice {
                return Err(Error::new(
                    key.span(),
                    format!("`{key}` is said twice: leave out one"),
                ));
            }
            if !["crate", "json", "name", "version"].iter().any(|known| key == known) {
                let message =
                    "expected `name = \"...\"`, `version = \"...\"`, `json` or `crate = path`";
                return Err(Error::new(key.span(), message));
            }
            if key == "json" {
                json = Some(key);
            } else {
                input.parse::<Token![=]>()?;
                if key == "crate" {
                    path = input.call(Path::parse_mod_style)?;
                } else if key == "name" {
                    name = Some(text(input.parse()?, MAX_NAME)?);
                } else {
                    version = Some(text(input.parse()?, MAX_VERSION)?);
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let missing = |what: &str| {
            let message = format!("an interface has a name and a version: add `{what} = \"...\"`");
            Error::new(Span::call_site(), message)
        };
        Ok(Self {
            path,
            name: name.ok_or_else(|| missing("name"))?,
            version: version.ok_or_else(|| missing("version"))?,
            json,
        })
    }
}

/// A name that the protocol takes.
fn text(text: LitStr, most: usize) -> Result<LitStr> {
    let value = text.value();
    if value.is_empty() || value.len() > most || value.chars().any(is_unseen) {
        let message = format!(
            "it has {} bytes: 1 to {most} are allowed, without characters that are not shown",
            value.len()
        );
        return Err(Error::new(text.span(), message));
    }
    Ok(text)
}

/// Characters that are not seen where a name is shown: control characters, which the protocol refuses, and those that hide or
/// turn text, which it leaves to whoever shows it.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// An interface that was checked.
pub(crate) struct Interface {
    pub(crate) docs: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) ident: Ident,
    pub(crate) members: Vec<Member>,
}

/// A method or a signal.
pub(crate) struct Member {
    pub(crate) docs: Vec<Attribute>,
    pub(crate) ident: Ident,
    pub(crate) shape: Shape,
    pub(crate) arguments: Vec<Argument>,
    /// The result, or one reply of a stream.
    pub(crate) result: Type,
    pub(crate) error: Option<Type>,
    /// Whether descriptors or blobs may go with the arguments, and with the result.
    pub(crate) carries: [bool; 2],
    /// Where it is said that it takes JSON, if it is.
    pub(crate) json: Option<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Call,
    Stream,
    OneWay,
    Signal,
}

pub(crate) struct Argument {
    pub(crate) ident: Ident,
    /// As it is written.
    pub(crate) ty: Type,
    pub(crate) lent: Lent,
}

/// How an argument is handed over.
pub(crate) enum Lent {
    /// It is the callee's.
    Not,
    /// `&str`.
    Str,
    /// `&[T]`.
    Slice(Type),
    /// Another `&T`.
    Value(Type),
}

impl Interface {
    /// Reads it; `json` says that all methods take JSON.
    pub(crate) fn read(input: ItemTrait, json: Option<&Ident>) -> Result<Self> {
        let mut errors = Errors::default();
        let refuse = |tokens: &dyn ToTokens, message: &str| {
            Error::new_spanned(tokens.to_token_stream(), message)
        };
        if let Some(token) = &input.unsafety {
            errors.add(refuse(token, "leave out `unsafe`: an interface only describes"));
        }
        if !input.generics.params.is_empty() {
            let message =
                "an interface has no parameters: name the types, two programs agree on them";
            errors.add(refuse(&input.generics, message));
        }
        if let Some(bounds) = &input.generics.where_clause {
            errors.add(refuse(bounds, "leave out the bounds: an interface has no parameters"));
        }
        if !input.supertraits.is_empty() {
            errors.add(refuse(&input.supertraits, "an interface extends no other: serve both"));
        }
        let mut docs = Vec::new();
        for attribute in &input.attrs {
            if attribute.path().is_ident("doc") {
                docs.push(attribute.clone());
            } else {
                errors.add(refuse(attribute, "only documentation can stand here: put the interface into a module, and other attributes there"));
            }
        }
        let mut members: Vec<Member> = Vec::new();
        for item in input.items {
            let TraitItem::Fn(function) = item else {
                errors.add(refuse(
                    &item,
                    "an interface has methods and signals: move anything else out of it",
                ));
                continue;
            };
            let Some(mut member) = errors.take(Member::read(function)) else { continue };
            if let Some(json) = json {
                errors.take(member.take_json(json));
            }
            if members.iter().any(|other| other.ident.unraw() == member.ident.unraw()) {
                let message =
                    "there is one of this name already: programs go by it, choose another";
                errors.add(Error::new(member.ident.span(), message));
            }
            members.push(member);
        }
        for signal in members.iter().filter(|member| member.shape == Shape::Signal) {
            let to_one = format!("{}_to", signal.ident.unraw());
            let is_to_one = |other: &&Member| other.ident.unraw() == to_one;
            let signals = members.iter().filter(|member| member.shape == Shape::Signal);
            if let Some(other) = signals.clone().find(is_to_one) {
                let message = format!(
                    "`{to_one}` sends the signal `{}` to one caller: choose another name",
                    signal.ident.unraw()
                );
                errors.add(Error::new(other.ident.span(), message));
            }
        }
        if let Some(member) = members.get(MAX_MEMBERS) {
            let message = format!("an interface has at most {MAX_MEMBERS} members: make two of it");
            errors.add(Error::new(member.ident.span(), message));
        }
        errors.finish()?;
        Ok(Self { docs, visibility: input.vis, ident: input.ident, members })
    }
}

/// Names that clients have for themselves.
const TAKEN: [&str; 4] = ["connect", "link", "options", "with"];
/// Names that the senders of signals have for themselves.
const TAKEN_BY_SENDERS: [&str; 2] = ["flush", "new"];

impl Member {
    fn read(function: TraitItemFn) -> Result<Self> {
        let mut errors = Errors::default();
        let signature = &function.sig;
        let ident = signature.ident.clone();
        if TAKEN.iter().any(|taken| ident.unraw() == taken) {
            let message = "clients have a method of this name of their own: choose another";
            errors.add(Error::new(ident.span(), message));
        }
        if ident.unraw().to_string().len() > MAX_NAME {
            errors.add(Error::new(
                ident.span(),
                format!("a name has at most {MAX_NAME} bytes: choose a shorter one"),
            ));
        }
        if let Some(body) = &function.default {
            let message = "an interface has no code: end it with `;`, its servers have the code";
            errors.add(Error::new_spanned(body, message));
        }
        for (found, message) in [
            (
                signature.constness.map(|token| token.span()),
                "leave out `const`: a method runs in another process",
            ),
            (
                signature.asyncness.map(|token| token.span()),
                "leave out `async`: how a method is waited for is its callers' and its servers' affair",
            ),
            (
                signature.unsafety.map(|token| token.span()),
                "leave out `unsafe`: a method runs in another process",
            ),
            (
                signature.abi.as_ref().map(Spanned::span),
                "leave out the ABI: a method is called over a channel",
            ),
            (
                signature.variadic.as_ref().map(Spanned::span),
                "a method has the arguments it names: take a `Vec`",
            ),
        ] {
            if let Some(span) = found {
                errors.add(Error::new(span, message));
            }
        }
        if !signature.generics.params.is_empty() {
            let message = "a method has no parameters of its own: name the types and leave out lifetimes, both programs have to know them";
            errors.add(Error::new_spanned(&signature.generics, message));
        }
        if let Some(bounds) = &signature.generics.where_clause {
            let message = "leave out the bounds: a method has no parameters of its own";
            errors.add(Error::new_spanned(bounds, message));
        }
        let (mut shape, mut docs, mut attachments) = (Shape::Call, Vec::new(), false);
        let mut json: Option<&Attribute> = None;
        for attribute in &function.attrs {
            let path = attribute.path();
            if path.is_ident("doc") {
                docs.push(attribute.clone());
                continue;
            }
            let known = ["attachments", "json", "oneway", "signal"]
                .iter()
                .find(|known| path.is_ident(known));
            let Some(&known) = known else {
                let message = "expected `#[oneway]`, `#[signal]`, `#[json]`, `#[attachments]` or documentation";
                errors.add(Error::new_spanned(attribute, message));
                continue;
            };
            if attribute.meta.require_path_only().is_err() {
                let message = format!("write `#[{known}]`: it has no arguments");
                errors.add(Error::new_spanned(attribute, message));
            } else if known == "attachments" {
                attachments = true;
            } else if known == "json" {
                json = Some(attribute);
            } else if shape != Shape::Call {
                let message = "a member is a one-way call or a signal, once: leave out this one";
                errors.add(Error::new_spanned(attribute, message));
            } else {
                shape = if known == "oneway" { Shape::OneWay } else { Shape::Signal };
            }
        }
        let mut arguments = Vec::new();
        for input in &signature.inputs {
            let argument = match input {
                FnArg::Receiver(receiver) => {
                    let message = "leave out `self`: clients and servers have their own";
                    Err(Error::new_spanned(receiver, message))
                }
                FnArg::Typed(typed) => Argument::read(typed),
            };
            arguments.extend(errors.take(argument));
        }
        let (mut result, mut error) = match &signature.output {
            ReturnType::Default => (parse_quote!(()), None),
            ReturnType::Type(_, ty) => {
                errors.take(result_of(ty)).unwrap_or_else(|| (parse_quote!(()), None))
            }
        };
        match arguments_of(&result, "Stream").as_deref() {
            Some([item]) => {
                if shape == Shape::Call {
                    shape = Shape::Stream;
                }
                result = item.clone();
            }
            Some(_) => {
                let message =
                    "a stream has one type; its error goes around it: `Result<Stream<T>, E>`";
                errors.add(Error::new_spanned(&result, message));
            }
            None => {}
        }
        let of_their_own = match shape {
            Shape::Stream => arguments.iter().find(|argument| argument.ident.unraw() == "replies"),
            _ => None,
        };
        if let Some(argument) = of_their_own {
            let message = "handlers have an argument of this name of their own, to send replies with: choose another";
            errors.add(Error::new(argument.ident.span(), message));
        }
        if shape == Shape::Signal && TAKEN_BY_SENDERS.iter().any(|taken| ident.unraw() == taken) {
            let message =
                "senders of signals have a method of this name of their own: choose another";
            errors.add(Error::new(ident.span(), message));
        }
        if let (Shape::OneWay | Shape::Signal, ReturnType::Type(_, ty)) = (shape, &signature.output)
        {
            let message = "nothing comes back from a one-way call or a signal: leave out the result or the attribute";
            errors.add(Error::new_spanned(ty, message));
            (result, error) = (parse_quote!(()), None);
        }
        for ty in std::iter::once(&result).chain(&error) {
            let message = "a result is the caller's own: instead of a reference use `String`, `Vec<T>` or the value";
            errors.take(refuse_inside(ty, message));
        }
        let attached = attachments || arguments.iter().any(|argument| carries(&argument.ty));
        if shape == Shape::Signal && attached {
            let message = "a signal goes to many at once: no descriptors and no blobs, a method's answer can bring them";
            errors.add(Error::new(ident.span(), message));
        }
        let given = arguments.iter().any(|argument| carries(&argument.ty));
        let returned = carries(&result) || error.as_ref().is_some_and(carries);
        let carries = if attachments { [true, true] } else { [given, returned] };
        if let Some(attribute) = json {
            let message = if shape == Shape::Signal {
                "a signal is sent and not called: leave out `#[json]`"
            } else {
                "descriptors and blobs cannot be JSON: leave out `#[json]`"
            };
            if shape == Shape::Signal || carries.contains(&true) {
                errors.add(Error::new_spanned(attribute, message));
            }
        }
        errors.finish()?;
        let json = json.map(|attribute| attribute.path().span());
        Ok(Self { docs, ident, shape, arguments, result, error, carries, json })
    }

    /// It takes JSON, as its whole interface does; but a signal, which is not called.
    fn take_json(&mut self, json: &Ident) -> Result<()> {
        if self.shape == Shape::Signal {
            return Ok(());
        }
        if self.carries.contains(&true) {
            let message = "descriptors and blobs cannot be JSON: leave `json` out of the interface, and put `#[json]` on the methods that have none";
            return Err(Error::new(self.ident.span(), message));
        }
        self.json.get_or_insert(json.span());
        Ok(())
    }

    /// The signature as people write it: the arguments and the result, and what is said of it.
    pub(crate) fn signature(&self) -> String {
        let show = |ty: &Type| shown(ty.to_token_stream());
        let arguments: Vec<_> = self
            .arguments
            .iter()
            .map(|argument| format!("{}: {}", argument.ident.unraw(), show(&argument.ty)))
            .collect();
        let mut result = show(&self.result);
        if self.shape == Shape::Stream {
            result = format!("Stream<{result}>");
        }
        if let Some(error) = &self.error {
            result = format!("Result<{result}, {}>", show(error));
        }
        let answer = if result == "()" { String::new() } else { format!(" -> {result}") };
        let said = match self.shape {
            Shape::Call | Shape::Stream => "",
            Shape::OneWay => " #[oneway]",
            Shape::Signal => " #[signal]",
        };
        format!("({}){answer}{said}", arguments.join(", "))
    }
}

/// Tokens as people write them, whichever compiler it is that read them.
fn shown(tokens: TokenStream) -> String {
    let mut text = String::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                let inside = shown(group.stream());
                if open.is_empty() {
                    part_words(&mut text, &inside);
                }
                text.extend([open, inside.trim_end(), close]);
            }
            TokenTree::Punct(punct) => match (punct.as_char(), punct.spacing()) {
                (separator @ (',' | ';'), _) => text.extend([separator, ' ']),
                ('-', Spacing::Joint) => text.push_str(" -"),
                ('>', _) if text.ends_with('-') => text.push_str("> "),
                (operator @ ('=' | '+'), _) => text.extend([' ', operator, ' ']),
                (other, _) => text.push(other),
            },
            word @ (TokenTree::Ident(_) | TokenTree::Literal(_)) => {
                let word = word.to_string();
                part_words(&mut text, &word);
                text.push_str(&word);
            }
        }
    }
    text
}

/// Puts a space where two words would be read as one.
fn part_words(text: &mut String, next: &str) {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    if text.ends_with(in_word) && next.starts_with(in_word) {
        text.push(' ');
    }
}

impl Argument {
    fn read(typed: &syn::PatType) -> Result<Self> {
        if let Some(attribute) = typed.attrs.first() {
            return Err(Error::new_spanned(
                attribute,
                "leave out the attribute: an argument has a name and a type",
            ));
        }
        let Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new_spanned(
                &typed.pat,
                "an argument has a name: programs compare it",
            ));
        };
        if pattern.by_ref.is_some() || pattern.mutability.is_some() || pattern.subpat.is_some() {
            let message =
                "an argument has a name and nothing else: its server may bind it as it likes";
            return Err(Error::new_spanned(pattern, message));
        }
        let ident = pattern.ident.clone();
        if ident.unraw() == "call" {
            let message = "handlers have an argument of this name of their own, for the caller: choose another";
            return Err(Error::new(ident.span(), message));
        }
        let ty = ungrouped(&typed.ty);
        let (lent, inside) = match ty {
            Type::Reference(reference) => {
                if let Some(lifetime) = &reference.lifetime {
                    let message = "leave out the lifetime: it is lent for the call";
                    return Err(Error::new_spanned(lifetime, message));
                }
                if let Some(token) = &reference.mutability {
                    let message = "leave out `mut`: the callee cannot change what the caller has, and can return it changed";
                    return Err(Error::new_spanned(token, message));
                }
                (lent(ungrouped(&reference.elem)), &*reference.elem)
            }
            ty => (Lent::Not, ty),
        };
        let message = "only an argument as a whole can be a reference: inside use `String`, `Vec<T>` or the value";
        refuse_inside(inside, message)?;
        Ok(Self { ident, ty: ty.clone(), lent })
    }
}

fn lent(ty: &Type) -> Lent {
    match ty {
        Type::Slice(slice) => Lent::Slice((*slice.elem).clone()),
        Type::Path(path) if path.path.is_ident("str") => Lent::Str,
        other => Lent::Value(other.clone()),
    }
}

/// The type itself, of one that a macro or parentheses put together.
fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        other => other,
    }
}

/// What a method returns, and its error if it has one.
fn result_of(ty: &Type) -> Result<(Type, Option<Type>)> {
    match arguments_of(ty, "Result").as_deref() {
        Some([result, error]) => Ok((ungrouped(result).clone(), Some(ungrouped(error).clone()))),
        Some(_) => Err(Error::new_spanned(ty, "write the error too: `Result<T, E>`")),
        None => Ok((ungrouped(ty).clone(), None)),
    }
}

/// The arguments of a path that ends in this name.
fn arguments_of(ty: &Type, name: &str) -> Option<Vec<Type>> {
    let Type::Path(path) = ungrouped(ty) else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    if last.ident != name {
        return None;
    }
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    Some(types.collect())
}

/// Refuses what can be no part of a message, with these words for references.
fn refuse_inside(ty: &Type, of_references: &str) -> Result<()> {
    struct Scan<'a>(Errors, &'a str);
    impl<'ast> Visit<'ast> for Scan<'_> {
        fn visit_type(&mut self, ty: &'ast Type) {
            let message = match ty {
                Type::Reference(_) | Type::Ptr(_) => self.1,
                Type::ImplTrait(_) | Type::Infer(_) => {
                    "name the type: both programs have to know it"
                }
                Type::TraitObject(_) | Type::BareFn(_) => {
                    "code does not travel: name a type that is data, an enum for one of several"
                }
                _ => return visit::visit_type(self, ty),
            };
            self.0.add(Error::new_spanned(ty, message));
        }

        fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
            if lifetime.ident != "static" {
                let message = "name a type without a lifetime: what it lends does not travel";
                self.0.add(Error::new_spanned(lifetime, message));
            }
        }

        fn visit_path(&mut self, path: &'ast Path) {
            if path.segments.first().is_some_and(|first| first.ident == "Self") {
                let message = "name the type: an interface only describes, and has no `Self`";
                self.0.add(Error::new_spanned(path, message));
            }
            visit::visit_path(self, path);
        }
    }
    let mut scan = Scan(Errors::default(), of_references);
    scan.visit_type(ty);
    scan.0.finish()
}

/// Whether a type is or holds a descriptor or a blob, by its name. What hides one says so: `#[attachments]`.
fn carries(ty: &Type) -> bool {
    struct Scan(bool);
    impl<'ast> Visit<'ast> for Scan {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0 |= segment.ident == "Fd" || segment.ident == "Blob";
            visit::visit_path_segment(self, segment);
        }
    }
    let mut scan = Scan(false);
    scan.visit_type(ty);
    scan.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature_of(function: TraitItemFn) -> String {
        Member::read(function).expect("a member").signature()
    }

    #[test]
    fn a_signature_is_shown_as_it_is_written() {
        let check = |function: &str, shown: &str| {
            let function = syn::parse_str(function).expect("a function");
            assert_eq!(signature_of(function), shown);
        };
        check("fn f();", "()");
        check("fn f() -> ();", "()");
        check("fn f(a: u8);", "(a: u8)");
        check("fn f(op:&str,terms:& [ f32 ],) -> i32;", "(op: &str, terms: &[f32]) -> i32");
        check("fn f(r#type: u8) -> String;", "(type: u8) -> String");
        check("fn f() -> Result<i32,CalcError>;", "() -> Result<i32, CalcError>");
        check("fn f() -> Result<(), E>;", "() -> Result<(), E>");
        check("fn f() -> std::result::Result<A, E>;", "() -> Result<A, E>");
        check("fn f() -> Stream<Tick>;", "() -> Stream<Tick>");
        check("fn f() -> Result<Stream<Tick>, E>;", "() -> Result<Stream<Tick>, E>");
        check("#[oneway] fn f(a: u8);", "(a: u8) #[oneway]");
        check("#[signal] fn f();", "() #[signal]");
        check("#[attachments] fn f(a: Hiding) -> Fd;", "(a: Hiding) -> Fd");
        check("fn f(a: Vec<Vec<u8>>);", "(a: Vec<Vec<u8>>)");
        check("fn f(a: (u8,String), b: (u8,));", "(a: (u8, String), b: (u8,))");
        check("fn f(a: [u8;4]);", "(a: [u8; 4])");
        check("fn f(a: [u8; { 2+2 }]);", "(a: [u8; {2 + 2}])");
        check("fn f(a: Cow<'static, str>);", "(a: Cow<'static, str>)");
        check("fn f(a: ::a::b::C<3, true, 'x', -1>);", "(a: ::a::b::C<3, true, 'x', -1>)");
        check("fn f(a: <A as B>::C);", "(a: <A as B>::C)");
        check("fn f(a: &Table<Key=u8>);", "(a: &Table<Key = u8>)");
    }

    #[test]
    fn a_type_that_a_macro_put_together_is_what_is_in_it() {
        let [text, failing]: [Type; 2] = [parse_quote!(str), parse_quote!(Result<Stream<u8>, E>)];
        let [text, failing] = [text, failing].map(|ty| {
            Type::Group(syn::TypeGroup { group_token: Default::default(), elem: Box::new(ty) })
        });
        let member = Member::read(parse_quote!(fn f(a: &#text) -> #failing;)).expect("a member");
        assert!(matches!(member.arguments[0].lent, Lent::Str));
        assert!(member.shape == Shape::Stream && member.error.is_some());
        assert_eq!(member.signature(), "(a: &str) -> Result<Stream<u8>, E>");
    }
}
