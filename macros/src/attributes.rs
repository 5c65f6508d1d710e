//! Reads attributes: our own, and of rkyv's what decides the archived bytes.
//!
//! It changes no `#[rkyv(...)]`: rkyv reads them after us and complains about what it does not know.

use proc_macro2::{Group, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Ident, LitStr, Meta, Path, Result, Token, Type, parse_quote};

/// The arguments of `#[message(...)]`.
pub(crate) struct Arguments {
    /// Where memring is found.
    pub(crate) path: Path,
    /// Whether values carry more than bytes.
    pub(crate) attachments: bool,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Self { path: parse_quote!(::memring), attachments: false };
        while !input.is_empty() {
            if input.parse::<Option<Token![crate]>>()?.is_some() {
                input.parse::<Token![=]>()?;
                arguments.path = input.call(Path::parse_mod_style)?;
            } else {
                let key = input.call(Ident::parse_any)?;
                if key != "attachments" {
                    let expected = "expected `attachments` or `crate = path`";
                    return Err(Error::new(key.span(), expected));
                }
                arguments.attachments = true;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
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

/// An attribute of ours or rkyv's that only a condition brings in would be seen by rkyv and not by us.
pub(crate) fn refuse_conditional(attributes: &[Attribute]) -> Result<()> {
    for attribute in attributes {
        if let Meta::List(list) = &attribute.meta
            && list.path.is_ident("cfg_attr")
            && mentions(list.tokens.clone(), &["rkyv", "memring"])
        {
            return Err(Error::new_spanned(
                attribute,
                "`cfg_attr` hides this from the fingerprint: put `cfg` on two fields instead",
            ));
        }
    }
    Ok(())
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
