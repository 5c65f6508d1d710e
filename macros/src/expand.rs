//! Writes what `#[message]` stands for.
//!
//! All of it is safe code; what is unsafe comes from rkyv's own derives.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Item, Path, Result, WherePredicate, parse_quote};

use crate::attributes::{self, Arguments};
use crate::declaration::{Declaration, Part};

pub(crate) fn message(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Arguments { path, attachments } = syn::parse2(arguments)?;
    let input: DeriveInput = match syn::parse2::<Item>(item.clone())? {
        Item::Struct(_) | Item::Enum(_) | Item::Union(_) => syn::parse2(item)?,
        other => {
            return Err(Error::new_spanned(other, "a message is a struct or an enum"));
        }
    };
    let declaration = Declaration::read(input)?;
    let rkyv = rkyv_attributes(&declaration, &path);
    let fingerprint = fingerprint(&declaration, &path, attachments);
    let input = &declaration.input;
    Ok(quote! {
        #[derive(#path::rkyv::Archive, #path::rkyv::Serialize, #path::rkyv::Deserialize)]
        #(#rkyv)*
        #input
        #fingerprint
    })
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
fn fingerprint(declaration: &Declaration, path: &Path, attachments: bool) -> TokenStream {
    let private = quote!(#path::__private);
    let DeriveInput { ident, generics, data, .. } = &declaration.input;
    let name = ident.unraw().to_string();

    let mut described = generics.clone();
    let clause = described.make_where_clause();
    for param in generics.type_params() {
        let param = &param.ident;
        clause.predicates.push(parse_quote!(#param: #private::Fingerprinted));
    }
    let mut sent = described.clone();
    // Of a type without parameters the compiler knows it, and says so where it is wrong.
    if !generics.params.is_empty() {
        let archive: WherePredicate = parse_quote!(Self: #path::rkyv::Archive);
        described.make_where_clause().predicates.push(archive);
        let archivable: WherePredicate = if attachments {
            parse_quote!(Self: #private::Attachable)
        } else {
            parse_quote!(Self: #private::Archivable)
        };
        sent.make_where_clause().predicates.push(archivable);
    }
    let (impl_generics, type_generics, described_where) = described.split_for_impl();
    let sent_where = &sent.where_clause;

    let kind = match data {
        Data::Enum(_) => quote!(enumeration),
        Data::Struct(_) | Data::Union(_) => quote!(structure),
    };
    let type_arguments = generics.type_params().map(|param| &param.ident);
    let const_arguments = generics.const_params().map(|param| &param.ident);
    let body = body(declaration);
    let format = if attachments { quote!(Attached) } else { quote!(Rkyv) };
    let carries = attachments.then(|| {
        quote! {
            fn carries() -> #private::Carries {
                #private::carried_by::<Self>()
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #private::Fingerprinted for #ident #type_generics #described_where {
            const HOLLOW: bool =
                #private::core::mem::size_of::<#path::rkyv::Archived<Self>>() == 0;

            fn fingerprint(into: &mut #private::Schema) {
                into.#kind(#name);
                #(into.argument::<#type_arguments>();)*
                #(into.constant(#const_arguments);)*
                #body
            }
        }

        #[automatically_derived]
        impl #impl_generics #private::Message for #ident #type_generics #sent_where {
            type Format = #private::#format;

            fn fingerprint() -> #private::Fingerprint {
                #private::fingerprint_of::<Self>()
            }

            fn name() -> #private::String {
                #private::name_of::<Self>()
            }

            #carries
        }
    }
}

fn body(declaration: &Declaration) -> TokenStream {
    let Data::Enum(data) = &declaration.input.data else {
        return declaration.parts.iter().flatten().map(part).collect();
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
            let parts = parts.iter().map(part);
            quote! {
                #(#conditions)*
                {
                    into.variant(#name);
                    #discriminant
                    #(#parts)*
                }
            }
        })
        .collect()
}

/// Describes one field.
fn part(part: &Part) -> TokenStream {
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
    quote! {
        #(#conditions)*
        {
            #described
            #(#niches)*
        }
    }
}
