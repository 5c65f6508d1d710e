//! A declaration of an interface, read and checked.
//!
//! Why apart from the expansion: what is refused here, and where the error points, is what people see.

pub(crate) mod expand;

use proc_macro2::Span;
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

/// The arguments of `#[interface(...)]`.
pub(crate) struct Arguments {
    /// Where memring is found.
    pub(crate) path: Path,
    pub(crate) name: LitStr,
    pub(crate) version: LitStr,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let (mut path, mut name, mut version) = (parse_quote!(::memring), None, None);
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            input.parse::<Token![=]>()?;
            if key == "crate" {
                path = input.call(Path::parse_mod_style)?;
            } else if key == "name" {
                name = Some(text(input.parse()?, MAX_NAME)?);
            } else if key == "version" {
                version = Some(text(input.parse()?, MAX_VERSION)?);
            } else {
                let message = "expected `name = \"...\"`, `version = \"...\"` or `crate = path`";
                return Err(Error::new(key.span(), message));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let missing = |what: &str| {
            let message = format!("an interface has a name and a version: {what} is missing");
            Error::new(Span::call_site(), message)
        };
        Ok(Self {
            path,
            name: name.ok_or_else(|| missing("`name = \"...\"`"))?,
            version: version.ok_or_else(|| missing("`version = \"...\"`"))?,
        })
    }
}

/// A name that the protocol takes.
fn text(text: LitStr, most: usize) -> Result<LitStr> {
    let value = text.value();
    if value.is_empty() || value.len() > most || value.chars().any(char::is_control) {
        let message = format!("1 to {most} bytes, without control characters");
        return Err(Error::new(text.span(), message));
    }
    Ok(text)
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
    pub(crate) fn read(input: ItemTrait) -> Result<Self> {
        let mut errors = Errors::default();
        let refuse = |tokens: &dyn ToTokens, message: &str| {
            Error::new_spanned(tokens.to_token_stream(), message)
        };
        if let Some(token) = &input.unsafety {
            errors.add(refuse(token, "an interface is a description: nothing in it is unsafe"));
        }
        if !input.generics.params.is_empty() {
            let message =
                "an interface has no parameters: its types are what two programs agree on";
            errors.add(refuse(&input.generics, message));
        }
        if !input.supertraits.is_empty() {
            errors.add(refuse(&input.supertraits, "an interface extends no other: serve both"));
        }
        let mut docs = Vec::new();
        for attribute in &input.attrs {
            if attribute.path().is_ident("doc") {
                docs.push(attribute.clone());
            } else {
                errors.add(refuse(attribute, "only documentation can stand here"));
            }
        }
        let mut members: Vec<Member> = Vec::new();
        for item in input.items {
            let TraitItem::Fn(function) = item else {
                errors.add(refuse(&item, "an interface has methods and signals, and nothing else"));
                continue;
            };
            let Some(member) = errors.take(Member::read(function)) else { continue };
            if members.iter().any(|other| other.ident == member.ident) {
                errors.add(Error::new(member.ident.span(), "there is one of this name already"));
            }
            members.push(member);
        }
        errors.finish()?;
        Ok(Self { docs, visibility: input.vis, ident: input.ident, members })
    }
}

/// Names that clients have for themselves.
const TAKEN: [&str; 4] = ["connect", "link", "options", "with"];

impl Member {
    fn read(function: TraitItemFn) -> Result<Self> {
        let mut errors = Errors::default();
        let signature = &function.sig;
        let ident = signature.ident.clone();
        if TAKEN.iter().any(|taken| ident == taken) {
            let message = "clients have a method of this name of their own";
            errors.add(Error::new(ident.span(), message));
        }
        if ident.unraw().to_string().len() > MAX_NAME {
            errors.add(Error::new(ident.span(), format!("a name has at most {MAX_NAME} bytes")));
        }
        if let Some(body) = &function.default {
            errors.add(Error::new_spanned(body, "an interface describes: it has no code"));
        }
        for (found, message) in [
            (signature.constness.map(|token| token.span()), "a method runs in another process"),
            (
                signature.asyncness.map(|token| token.span()),
                "each method can be called and served in both ways: leave out `async`",
            ),
            (signature.unsafety.map(|token| token.span()), "nothing of an interface is unsafe"),
            (signature.abi.as_ref().map(Spanned::span), "leave out the ABI"),
            (signature.variadic.as_ref().map(Spanned::span), "a method has the arguments it names"),
        ] {
            if let Some(span) = found {
                errors.add(Error::new(span, message));
            }
        }
        if !signature.generics.params.is_empty() {
            let message =
                "a method has no parameters of its own: both programs have to know its types";
            errors.add(Error::new_spanned(&signature.generics, message));
        }
        let (mut shape, mut docs, mut attachments) = (Shape::Call, Vec::new(), false);
        for attribute in &function.attrs {
            let path = attribute.path();
            if path.is_ident("doc") {
                docs.push(attribute.clone());
                continue;
            }
            if errors.take(attribute.meta.require_path_only().map(drop)).is_none() {
                continue;
            }
            if path.is_ident("attachments") {
                attachments = true;
            } else if (path.is_ident("oneway") || path.is_ident("signal")) && shape != Shape::Call {
                errors.add(Error::new_spanned(attribute, "it is one or the other"));
            } else if path.is_ident("oneway") {
                shape = Shape::OneWay;
            } else if path.is_ident("signal") {
                shape = Shape::Signal;
            } else {
                let message =
                    "expected `#[oneway]`, `#[signal]`, `#[attachments]` or documentation";
                errors.add(Error::new_spanned(attribute, message));
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
            ReturnType::Type(_, ty) => result_of(ty),
        };
        if let Some(item) = only_argument(&result, "Stream") {
            if shape == Shape::Call {
                shape = Shape::Stream;
            }
            result = item;
        }
        if let (Shape::OneWay | Shape::Signal, ReturnType::Type(_, ty)) = (shape, &signature.output)
        {
            let message = "nothing comes back from a one-way call or a signal";
            errors.add(Error::new_spanned(ty, message));
            (result, error) = (parse_quote!(()), None);
        }
        for ty in std::iter::once(&result).chain(&error) {
            if let Some(span) = reference_in(ty) {
                let message = "a result is the caller's own: no references";
                errors.add(Error::new(span, message));
            }
        }
        let attached = attachments || arguments.iter().any(|argument| carries(&argument.ty));
        if shape == Shape::Signal && attached {
            let message = "a signal goes to many at once: no descriptors and no blobs";
            errors.add(Error::new(ident.span(), message));
        }
        errors.finish()?;
        let given = arguments.iter().any(|argument| carries(&argument.ty));
        let returned = carries(&result) || error.as_ref().is_some_and(carries);
        let carries = if attachments { [true, true] } else { [given, returned] };
        Ok(Self { docs, ident, shape, arguments, result, error, carries })
    }

    /// The signature as it is written, for people.
    pub(crate) fn signature(&self) -> String {
        let show = |ty: &Type| shown(&ty.to_token_stream().to_string());
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
        format!("({}){answer}", arguments.join(", "))
    }
}

/// Tokens as people write them.
fn shown(tokens: &str) -> String {
    let mut text = tokens.replace(" :: ", "::").replace(" , ", ", ").replace("& ", "&");
    for (spaced, close) in
        [(" <", "<"), ("< ", "<"), (" >", ">"), (" ;", ";"), ("[ ", "["), (" ]", "]")]
    {
        text = text.replace(spaced, close);
    }
    text
}

impl Argument {
    fn read(typed: &syn::PatType) -> Result<Self> {
        if let Some(attribute) = typed.attrs.first() {
            return Err(Error::new_spanned(attribute, "an argument has no attributes"));
        }
        let Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new_spanned(&typed.pat, "an argument has a name"));
        };
        if pattern.by_ref.is_some() || pattern.mutability.is_some() || pattern.subpat.is_some() {
            return Err(Error::new_spanned(pattern, "an argument has a name, and nothing else"));
        }
        let ident = pattern.ident.clone();
        if ident == "call" {
            let message = "handlers have an argument of this name of their own: the caller";
            return Err(Error::new(ident.span(), message));
        }
        let lent = match &*typed.ty {
            Type::Reference(reference) => {
                if let Some(lifetime) = &reference.lifetime {
                    let message = "it is lent for the call: no lifetime";
                    return Err(Error::new_spanned(lifetime, message));
                }
                if let Some(token) = &reference.mutability {
                    let message = "the callee cannot change what the caller has";
                    return Err(Error::new_spanned(token, message));
                }
                lent(&reference.elem)
            }
            _ => Lent::Not,
        };
        let inner = match (&lent, &*typed.ty) {
            (Lent::Not, ty) => ty,
            (_, Type::Reference(reference)) => &*reference.elem,
            (_, ty) => ty,
        };
        if let Some(span) = reference_in(inner) {
            let message = "only an argument as a whole can be a reference";
            return Err(Error::new(span, message));
        }
        Ok(Self { ident, ty: (*typed.ty).clone(), lent })
    }
}

fn lent(ty: &Type) -> Lent {
    match ty {
        Type::Slice(slice) => Lent::Slice((*slice.elem).clone()),
        Type::Path(path) if path.path.is_ident("str") => Lent::Str,
        other => Lent::Value(other.clone()),
    }
}

/// What a method returns, and its error if it has one.
fn result_of(ty: &Type) -> (Type, Option<Type>) {
    match arguments_of(ty, "Result").as_deref() {
        Some([result, error]) => (result.clone(), Some(error.clone())),
        _ => (ty.clone(), None),
    }
}

fn only_argument(ty: &Type, name: &str) -> Option<Type> {
    match arguments_of(ty, name).as_deref() {
        Some([one]) => Some(one.clone()),
        _ => None,
    }
}

/// The arguments of a path that ends in this name.
fn arguments_of(ty: &Type, name: &str) -> Option<Vec<Type>> {
    let Type::Path(path) = ty else { return None };
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

fn reference_in(ty: &Type) -> Option<Span> {
    struct Scan(Option<Span>);
    impl<'ast> Visit<'ast> for Scan {
        fn visit_type(&mut self, ty: &'ast Type) {
            if matches!(ty, Type::Reference(_) | Type::Ptr(_)) {
                self.0.get_or_insert(ty.span());
            }
            visit::visit_type(self, ty);
        }
    }
    let mut scan = Scan(None);
    scan.visit_type(ty);
    scan.0
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
