//! Writes what `#[message]` stands for.
//!
//! All of it is safe code; what is unsafe comes from rkyv's own derives. In another format than rkyv's, the derives are
//! for people to write: which of them, and whose, is theirs to choose.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Ident, Item, Path, Result, WherePredicate, parse_quote,
};

use crate::attributes::{self, Arguments, Format};
use crate::declaration::{Declaration, Part};

pub(crate) fn message(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Arguments { path, format } = syn::parse2(arguments)?;
    let input: DeriveInput = match syn::parse2::<Item>(item.clone())? {
        Item::Struct(_) | Item::Enum(_) | Item::Union(_) => syn::parse2(item)?,
        other => {
            return Err(Error::new_spanned(other, "a message is a struct or an enum"));
        }
    };
    let declaration = Declaration::read(input, format)?;
    let derives = format.is_rkyv().then(|| rkyv_derives(&declaration, &path));
    let fingerprint = fingerprint(&declaration, &path, format);
    let input = &declaration.input;
    Ok(quote! {
        #derives
        #input
        #fingerprint
    })
}

fn rkyv_derives(declaration: &Declaration, path: &Path) -> TokenStream {
    let attributes = rkyv_attributes(declaration, path);
    quote! {
        #[derive(#path::rkyv::Archive, #path::rkyv::Serialize, #path::rkyv::Deserialize)]
        #(#attributes)*
    }
}

/// Tells rkyv where it is, and what bounds its impls need in place of those that a recursive field omits.
fn rkyv_attributes(declaration: &Declaration, path: &Path) -> Vec<Attribute> {
    let rkyv: Path = parse_quote!(#path::rkyv);
    let mut attributes = vec![parse_quote!(#[rkyv(crate = #rkyv)])];
    if !declaration.omits_bounds {
        return attributes;
    }
    let types: Vec<_> =
        declaration.input.generics.type_params().map(|param| &param.ident).collect();
    let given = |key: &str| declaration.rkyv.iter().any(|argument| argument.key == key);
    if !given("archive_bounds") && !types.is_empty() {
        attributes.push(parse_quote!(#[rkyv(archive_bounds(#(#types: #rkyv::Archive),*))]));
    }
    if !given("serialize_bounds") {
        attributes.push(parse_quote! {
            #[rkyv(serialize_bounds(
                __S: #rkyv::ser::Writer + #rkyv::ser::Allocator,
                <__S as #rkyv::rancor::Fallible>::Error: #rkyv::rancor::Source,
                #(#types: #rkyv::Serialize<__S>,)*
            ))]
        });
    }
    if !given("deserialize_bounds") {
        attributes.push(parse_quote! {
            #[rkyv(deserialize_bounds(
                <__D as #rkyv::rancor::Fallible>::Error: #rkyv::rancor::Source,
                #(<#types as #rkyv::Archive>::Archived: #rkyv::Deserialize<#types, __D>,)*
            ))]
        });
    }
    if !given("bytecheck") {
        attributes.push(parse_quote! {
            #[rkyv(bytecheck(bounds(
                __C: #rkyv::validation::ArchiveContext,
                <__C as #rkyv::rancor::Fallible>::Error: #rkyv::rancor::Source,
                #(<#types as #rkyv::Archive>::Archived: #rkyv::bytecheck::CheckBytes<__C>,)*
            )))]
        });
    }
    attributes
}

/// The impls of `Fingerprinted` and `Message`.
fn fingerprint(declaration: &Declaration, path: &Path, format: Format) -> TokenStream {
    let private = quote!(#path::__private);
    let DeriveInput { ident, generics, data, .. } = &declaration.input;
    let name = ident.unraw().to_string();

    let mut described = generics.clone();
    let clause = described.make_where_clause();
    for param in generics.type_params() {
        let param = &param.ident;
        clause.predicates.push(parse_quote!(#param: #private::Fingerprinted));
    }
    let (sent_in, digest) = match format {
        Format::Rkyv => (quote!(#private::Rkyv), quote!(#private::fingerprint_of::<Self>())),
        Format::Attached => {
            (quote!(#private::Attached), quote!(#private::fingerprint_of::<Self>()))
        }
        Format::Parsed(name) => {
            let name = Ident::new(name, Span::call_site());
            (quote!(#private::#name), named_digest(&private))
        }
        Format::Plain => (quote!(#private::Plain), named_digest(&private)),
    };
    let mut sent = described.clone();
    // Of a type without parameters the compiler knows it, and says so where it is wrong.
    if !generics.params.is_empty() {
        if format.is_rkyv() {
            let archive: WherePredicate = parse_quote!(Self: #path::rkyv::Archive);
            described.make_where_clause().predicates.push(archive);
        }
        let sendable: WherePredicate = match format {
            Format::Rkyv => parse_quote!(Self: #private::Archivable),
            Format::Attached => parse_quote!(Self: #private::Attachable),
            Format::Parsed(_) | Format::Plain => parse_quote!(#sent_in: #private::Format<Self>),
        };
        sent.make_where_clause().predicates.push(sendable);
    }
    let (impl_generics, type_generics, described_where) = described.split_for_impl();
    let sent_where = &sent.where_clause;

    let kind = match data {
        Data::Enum(_) => quote!(enumeration),
        Data::Struct(_) | Data::Union(_) => quote!(structure),
    };
    let type_arguments = generics.type_params().map(|param| &param.ident);
    let const_arguments = generics.const_params().map(|param| &param.ident);
    let hollow = hollow(declaration, path, format);
    let told = told(&declaration.input.attrs, format);
    let carries = (format == Format::Attached).then(|| {
        quote! {
            fn carries() -> #private::Carries {
                #private::carried_by::<Self>()
            }
        }
    });
    let body = body(declaration, format);
    let size = (format == Format::Plain)
        .then(|| quote!(into.size(#private::core::mem::size_of::<Self>());));
    quote! {
        #[automatically_derived]
        impl #impl_generics #private::Fingerprinted for #ident #type_generics #described_where {
            const HOLLOW: bool = #hollow;

            fn fingerprint(into: &mut #private::Schema) {
                into.#kind(#name);
                #(into.argument::<#type_arguments>();)*
                #(into.constant(#const_arguments);)*
                #told
                #body
                #size
            }
        }

        #[automatically_derived]
        impl #impl_generics #private::Message for #ident #type_generics #sent_where {
            type Format = #sent_in;

            fn fingerprint() -> #private::Fingerprint {
                #digest
            }

            fn name() -> #private::String {
                #private::name_of::<Self>()
            }

            #carries
        }
    }
}

/// A digest in which the format has a part.
fn named_digest(private: &TokenStream) -> TokenStream {
    quote! {
        #private::fingerprint_in::<Self>(
            <<Self as #private::Message>::Format as #private::Format<Self>>::NAME
        )
    }
}

/// Whether a value takes no bytes.
fn hollow(declaration: &Declaration, path: &Path, format: Format) -> TokenStream {
    let private = quote!(#path::__private);
    match (format, &declaration.input.data) {
        (Format::Rkyv | Format::Attached, _) => {
            quote!(#private::core::mem::size_of::<#path::rkyv::Archived<Self>>() == 0)
        }
        (Format::Plain, _) => quote!(#private::core::mem::size_of::<Self>() == 0),
        // A variant is a number, at least.
        (Format::Parsed(_), Data::Enum(_)) => quote!(false),
        (Format::Parsed(_), _) => {
            let parts = declaration.parts.iter().flatten().map(|part| {
                let conditions = attributes::conditions(&part.field.attrs);
                let ty = &part.field.ty;
                let one = match part.foreign {
                    Some(_) => quote!(false),
                    None => quote!(<#ty as #private::Fingerprinted>::HOLLOW),
                };
                quote!(#(#conditions)* { hollow = hollow && #one; })
            });
            quote! {{
                #[allow(unused_mut)]
                let mut hollow = true;
                #(#parts)*
                hollow
            }}
        }
    }
}

/// Describes what serde is told by the attributes of one place.
fn told(attributes: &[Attribute], format: Format) -> TokenStream {
    match format {
        Format::Parsed(_) => {
            let told = attributes::serde(attributes);
            quote!(#(into.attribute(#told);)*)
        }
        Format::Rkyv | Format::Attached | Format::Plain => TokenStream::new(),
    }
}

fn body(declaration: &Declaration, format: Format) -> TokenStream {
    let Data::Enum(data) = &declaration.input.data else {
        return declaration.parts.iter().flatten().map(|each| part(each, format)).collect();
    };
    data.variants
        .iter()
        .zip(&declaration.parts)
        .map(|(variant, parts)| {
            let conditions = attributes::conditions(&variant.attrs);
            let name = variant.ident.unraw().to_string();
            let discriminant = variant.discriminant.as_ref().map(|(_, value)| {
                quote! {
                    #[allow(clippy::all, clippy::pedantic)]
                    into.discriminant((#value) as i128);
                }
            });
            let told = told(&variant.attrs, format);
            let parts = parts.iter().map(|each| part(each, format));
            quote! {
                #(#conditions)*
                {
                    into.variant(#name);
                    #discriminant
                    #told
                    #(#parts)*
                }
            }
        })
        .collect()
}

/// Describes one field.
fn part(part: &Part, format: Format) -> TokenStream {
    let conditions = attributes::conditions(&part.field.attrs);
    let name = &part.name;
    let ty = &part.field.ty;
    let value = |key: &str| {
        part.rkyv.iter().find(|argument| argument.key == key).and_then(|found| found.value.as_ref())
    };
    // A missing fingerprint is reported at the field; names are looked up where all of ours are.
    let here = Span::call_site().located_at(ty.span());
    let described = if let Some(foreign) = &part.foreign {
        quote!(into.field_foreign(#name, #foreign);)
    } else if let Some(with) = value("with") {
        quote_spanned!(here=> into.field_with::<#ty, #with>(#name);)
    } else {
        quote_spanned!(here=> into.field::<#ty>(#name);)
    };
    let niches =
        part.rkyv.iter().filter(|argument| argument.key == "niche").map(|argument| match &argument
            .value
        {
            Some(niche) => quote!(into.niche::<#niche>();),
            None => quote!(into.default_niche();),
        });
    let told = told(&part.field.attrs, format);
    quote! {
        #(#conditions)*
        {
            #described
            #(#niches)*
            #told
        }
    }
}
