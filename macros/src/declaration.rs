//! A declaration that can become a message: read, checked, and its recursion found.
//!
//! Why apart from the expansion: what is refused here, and where the error points, is what people see.

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Data, DeriveInput, Error, Field, Fields, GenericParam, Ident, LitStr, Result, Type, parse_quote,
};

use crate::attributes::{self, Format, Rkyv};
use crate::errors::Errors;

/// What the fingerprint is told about a field.
pub(crate) struct Part {
    /// The field's name, or its position.
    pub(crate) name: String,
    pub(crate) field: Field,
    pub(crate) rkyv: Vec<Rkyv>,
    pub(crate) foreign: Option<LitStr>,
}

/// A declaration that was checked. Its own attributes are gone from `input`, and fields that mention the type
/// itself omit their bounds.
pub(crate) struct Declaration {
    pub(crate) input: DeriveInput,
    /// What rkyv was told about the type.
    pub(crate) rkyv: Vec<Rkyv>,
    /// For a struct one list, for an enum one for each variant.
    pub(crate) parts: Vec<Vec<Part>>,
    /// Whether a field omits its bounds, so that the impls need others in their place.
    pub(crate) omits_bounds: bool,
}

impl Declaration {
    pub(crate) fn read(mut input: DeriveInput, format: Format) -> Result<Self> {
        let mut errors = Errors::default();
        if let Data::Union(data) = &input.data {
            let span = data.union_token.span();
            return Err(Error::new(
                span,
                "a union cannot be a message: nothing says which field holds",
            ));
        }
        for param in &input.generics.params {
            if let GenericParam::Lifetime(param) = param {
                errors.add(Error::new_spanned(param, "a message owns its data: no lifetimes"));
            }
        }
        errors.take(attributes::refuse_conditional(&input.attrs, format));
        errors.take(attributes::refuse_strange(&input.attrs, format));
        if input.attrs.iter().any(|attribute| attribute.path().is_ident("memring")) {
            let message = "`#[memring(...)]` belongs on a field";
            errors.add(Error::new(input.ident.span(), message));
        }
        let rkyv = errors.take(attributes::rkyv(&input.attrs)).unwrap_or_default();
        for argument in &rkyv {
            errors.take(check_container(argument));
        }

        if let Data::Enum(data) = &input.data {
            for variant in &data.variants {
                errors.take(attributes::refuse_conditional(&variant.attrs, format));
                errors.take(attributes::refuse_strange(&variant.attrs, format));
            }
        }

        let ident = input.ident.clone();
        let mut omits_bounds = false;
        let mut parts = Vec::new();
        let mut read = |fields: &mut Fields| {
            let mut list = Vec::new();
            for (index, field) in fields.iter_mut().enumerate() {
                if let Some(part) = errors.take(read_field(&ident, index, field, format)) {
                    omits_bounds |= part.rkyv.iter().any(|argument| argument.key == "omit_bounds");
                    list.push(part);
                }
            }
            parts.push(list);
        };
        match &mut input.data {
            Data::Struct(data) => read(&mut data.fields),
            Data::Enum(data) => {
                data.variants.iter_mut().for_each(|variant| read(&mut variant.fields))
            }
            Data::Union(_) => {}
        }
        errors.finish()?;
        Ok(Self { input, rkyv, parts, omits_bounds })
    }
}

fn check_container(argument: &Rkyv) -> Result<()> {
    let refuse = |message: &str| Err(Error::new(argument.key.span(), message));
    if argument.key == "as" || argument.key == "remote" {
        refuse("this hides the layout from the fingerprint: name the field's type by hand instead")
    } else if argument.key == "crate" {
        refuse("memring brings its own rkyv: use `#[memring::message(crate = path)]`")
    } else if argument.key == "attr"
        && argument.group.clone().is_some_and(|tokens| attributes::mentions(tokens, &["repr"]))
    {
        refuse("this changes the layout behind the fingerprint's back")
    } else {
        Ok(())
    }
}

fn read_field(owner: &Ident, index: usize, field: &mut Field, format: Format) -> Result<Part> {
    attributes::refuse_conditional(&field.attrs, format)?;
    attributes::refuse_strange(&field.attrs, format)?;
    let foreign = attributes::take_foreign(&mut field.attrs)?;
    let mut rkyv = attributes::rkyv(&field.attrs)?;
    let mut scan = Scan { owner, recursive: false, borrowed: None };
    scan.visit_type(&field.ty);
    if let Some(span) = scan.borrowed {
        let message = "a message owns its data: no references or pointers (`String` for `&str`, \
                       `Vec` for a slice)";
        return Err(Error::new(span, message));
    }
    // serde's derives bound parameters and no fields, and plain data does not contain itself.
    if format.is_rkyv()
        && scan.recursive
        && rkyv.iter().all(|argument| argument.key != "omit_bounds")
    {
        field.attrs.push(parse_quote!(#[rkyv(omit_bounds)]));
        rkyv = attributes::rkyv(&field.attrs)?;
    }
    let name = match &field.ident {
        Some(ident) => syn::ext::IdentExt::unraw(ident).to_string(),
        None => index.to_string(),
    };
    Ok(Part { name, field: field.clone(), rkyv, foreign })
}

/// Looks through a field's type.
struct Scan<'a> {
    owner: &'a Ident,
    recursive: bool,
    borrowed: Option<Span>,
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.recursive |= ident == self.owner || ident == "Self";
    }

    fn visit_type(&mut self, ty: &'ast Type) {
        if matches!(ty, Type::Reference(_) | Type::Ptr(_)) {
            self.borrowed.get_or_insert(ty.span());
        }
        visit::visit_type(self, ty);
    }

    fn visit_type_macro(&mut self, ty: &'ast syn::TypeMacro) {
        // What a macro makes of its input is not ours to see; an omitted bound does no harm.
        let owner = self.owner.to_string();
        self.recursive |= attributes::mentions(ty.to_token_stream(), &[&owner, "Self"]);
    }
}
