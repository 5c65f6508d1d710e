//! Reads attributes: our own, and of rkyv's and serde's what decides the bytes.
//!
//! It changes no `#[rkyv(...)]` and no `#[serde(...)]`: they are read after us by those they belong to, who complain
//! about what they do not know.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Ident, LitStr, Meta, Path, Result, Token, Type, parse_quote};

/// The arguments of `#[message(...)]`.
pub(crate) struct Arguments {
    /// Where memring is found.
    pub(crate) path: Path,
    pub(crate) format: Format,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut this = Self { path: parse_quote!(::memring), format: Format::Rkyv };
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            if key == "attachments" && this.format == Format::Rkyv {
                this.format = Format::Attached;
            } else if key == "crate" {
                input.parse::<Token![=]>()?;
                this.path = input.call(Path::parse_mod_style)?;
            } else if key == "format" && this.format == Format::Rkyv {
                input.parse::<Token![=]>()?;
                this.format = input.parse()?;
            } else if key == "attachments" || key == "format" {
                let message = "a message with attachments is rkyv's, and has one format";
                return Err(Error::new(key.span(), message));
            } else {
                let message = "expected `crate = path`, `attachments`, or `format = json`, `cbor`, `postcard` or `plain`";
                return Err(Error::new(key.span(), message));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(this)
    }
}

/// How a message becomes bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// What is meant where nothing is said.
    Rkyv,
    /// The same, of messages that carry more than bytes.
    Attached,
    /// By serde, in the notation of this name.
    Parsed(&'static str),
    Plain,
}

impl Format {
    /// Whether messages are archives.
    pub(crate) fn is_rkyv(self) -> bool {
        matches!(self, Self::Rkyv | Self::Attached)
    }
}

impl Parse for Format {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input.parse()?;
        match name.to_string().as_str() {
            "json" => Ok(Self::Parsed("Json")),
            "cbor" => Ok(Self::Parsed("Cbor")),
            "postcard" => Ok(Self::Parsed("Postcard")),
            "plain" => Ok(Self::Plain),
            _ => {
                let message =
                    "expected `json`, `cbor`, `postcard` or `plain`; without `format` it is rkyv";
                Err(Error::new(name.span(), message))
            }
        }
    }
}

/// One argument of an `#[rkyv(...)]`.
pub(crate) struct Rkyv {
    pub(crate) key: Ident,
    /// What follows `=`. All that rkyv takes there reads as a type.
    pub(crate) value: Option<Type>,
    /// What stands in parentheses.
    pub(crate) group: Option<TokenStream>,
}

impl Parse for Rkyv {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.call(Ident::parse_any)?;
        let mut this = Self { key, value: None, group: None };
        if input.parse::<Option<Token![=]>>()?.is_some() {
            this.value = Some(input.parse()?);
        } else if input.peek(syn::token::Paren) {
            this.group = Some(input.parse::<Group>()?.stream());
        }
        Ok(this)
    }
}

/// All arguments of all `#[rkyv(...)]` among `attributes`.
pub(crate) fn rkyv(attributes: &[Attribute]) -> Result<Vec<Rkyv>> {
    let mut found = Vec::new();
    for attribute in attributes {
        if attribute.path().is_ident("rkyv") {
            let list = attribute.meta.require_list()?;
            let parser = Punctuated::<Rkyv, Token![,]>::parse_terminated;
            found.extend(parser.parse2(list.tokens.clone())?);
        }
    }
    Ok(found)
}

/// Takes our own attributes off a field. Returns the name given by hand, if there is one.
pub(crate) fn take_foreign(attributes: &mut Vec<Attribute>) -> Result<Option<LitStr>> {
    let mut foreign = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("memring")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("foreign") {
                return Err(meta.error("expected `foreign = \"name and version\"`"));
            }
            let name: LitStr = meta.value()?.parse()?;
            if name.value().is_empty() {
                return Err(Error::new(name.span(), "a foreign type needs a name"));
            }
            if foreign.replace(name).is_some() {
                return Err(meta.error("named twice"));
            }
            Ok(())
        })?;
    }
    attributes.retain(|attribute| !attribute.path().is_ident("memring"));
    Ok(foreign)
}

/// Attributes that decide the bytes, and that this format does not ask.
pub(crate) fn refuse_strange(attributes: &[Attribute], format: Format) -> Result<()> {
    for attribute in attributes {
        if !format.is_rkyv() && attribute.path().is_ident("rkyv") {
            let message = "rkyv is not asked in this format";
            return Err(Error::new_spanned(attribute, message));
        }
    }
    Ok(())
}

/// An attribute that only a condition brings in would be seen by the one it belongs to, and not by us.
pub(crate) fn refuse_conditional(attributes: &[Attribute], format: Format) -> Result<()> {
    let seen: &[&str] = match format {
        Format::Rkyv | Format::Attached => &["rkyv", "memring"],
        Format::Parsed(_) => &["serde", "memring"],
        Format::Plain => &["repr", "memring"],
    };
    for attribute in attributes {
        if let Meta::List(list) = &attribute.meta
            && list.path.is_ident("cfg_attr")
            && mentions(list.tokens.clone(), seen)
        {
            return Err(Error::new_spanned(
                attribute,
                "`cfg_attr` hides this from the fingerprint: put `cfg` on two fields instead",
            ));
        }
    }
    Ok(())
}

/// What serde is told in `attributes`, as the fingerprint hears it.
pub(crate) fn serde(attributes: &[Attribute]) -> Vec<String> {
    let told = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    told.filter_map(|attribute| match &attribute.meta {
        Meta::List(list) => Some(spaced(list.tokens.clone())),
        Meta::Path(_) | Meta::NameValue(_) => None, // serde will say that there is nothing in it
    })
    .collect()
}

/// Tokens with a space between each and the next. How the compiler would print them changes from one to another.
fn spaced(tokens: TokenStream) -> String {
    let mut words = Vec::new();
    for token in tokens {
        let TokenTree::Group(group) = token else {
            words.push(token.to_string());
            continue;
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        let inside = spaced(group.stream());
        let parts = [open, &inside, close];
        words.extend(parts.into_iter().filter(|part| !part.is_empty()).map(str::to_owned));
    }
    words.join(" ")
}

/// The conditions among `attributes`, to be put on what is generated from the same place.
pub(crate) fn conditions(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
}

/// Whether one of `names` occurs among `tokens`, however deep.
pub(crate) fn mentions(tokens: TokenStream, names: &[&str]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.iter().any(|name| ident == name),
        TokenTree::Group(group) => mentions(group.stream(), names),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
