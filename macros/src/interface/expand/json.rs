//! Writes how JSON becomes arguments, for methods that take it; the handlers are those that there are anyway.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::Ident;
use syn::ext::IdentExt;

use super::{Expansion, arguments_ident, pointing_at};
use crate::interface::{Lent, Member};

impl Expansion<'_> {
    /// The arguments of all methods that take JSON, if any does. memring says whether there is such a thing.
    pub(super) fn json(&self) -> TokenStream {
        let Some(said) = self.json_said() else { return TokenStream::new() };
        let path = self.path;
        let arguments = self.json_members().map(|(_, member)| self.json_arguments(member));
        // Without its feature the error is where it was asked for.
        pointing_at(&said, quote!(#path::__json! { #(#arguments)* }))
    }

    /// What answers calls with JSON.
    pub(super) fn json_answer(&self) -> Option<TokenStream> {
        let Self { rpc, path, .. } = self;
        self.json_said()?;
        let arms = self.json_members().filter_map(|(place, member)| {
            let [carrier, of_error] = self.json_carriers(member);
            let answer = self.answer(member, &carrier, &of_error)?;
            let gathered = gathered_ident(member);
            Some(quote!(#place => request.with_json::<#gathered>(|request| #answer),))
        });
        Some(quote! {
            fn call_json(&self, member: u32, request: #rpc::Request<'_>) {
                #path::__json_or! {
                    [request.no_json()]
                    match member {
                        #(#arms)*
                        _ => request.no_json(),
                    }
                }
            }
        })
    }

    /// The same, in tasks.
    pub(super) fn json_async_answer(&self) -> Option<TokenStream> {
        let Self { rpc, path, private, .. } = self;
        self.json_said()?;
        let arms = self.json_members().filter_map(|(place, member)| {
            let [carrier, of_error] = self.json_carriers(member);
            let answer = self.async_answer(member, &carrier, &of_error)?;
            let gathered = gathered_ident(member);
            let some = quote!(#private::core::option::Option::Some);
            Some(quote! {
                #place => #private::Box::pin(async move {
                    let #some(request) = request.with_json::<#gathered>() else { return };
                    #answer
                }),
            })
        });
        Some(quote! {
            fn call_json(
                self: #private::Arc<Self>,
                member: u32,
                request: #rpc::TaskRequest,
            ) -> #rpc::Work {
                #path::__json_or! {
                    [request.no_json()]
                    match member {
                        #(#arms)*
                        _ => request.no_json(),
                    }
                }
            }
        })
    }

    /// Methods that take JSON.
    fn json_members(&self) -> impl Iterator<Item = (u32, &Member)> {
        let members = (0_u32..).zip(&self.interface.members); // at most 1024
        members.filter(|(_, member)| member.json.is_some())
    }

    /// Where that was asked for first.
    fn json_said(&self) -> Option<Span> {
        self.json_members().next()?.1.json
    }

    /// How the result of a method and its error travel then.
    fn json_carriers(&self, member: &Member) -> [TokenStream; 2] {
        let rpc = &self.rpc;
        let carrier = pointing_at(&member.result, quote!(#rpc::Json));
        let of_error = match &member.error {
            Some(error) => pointing_at(error, quote!(#rpc::Json)),
            None => quote!(#rpc::NoError),
        };
        [carrier, of_error]
    }

    /// The arguments of one method, as they are gathered.
    fn json_arguments(&self, member: &Member) -> TokenStream {
        let Self { private, .. } = self;
        let [gathered, packed] = [gathered_ident(member), arguments_ident(member)];
        let idents: Vec<_> = member.arguments.iter().map(|argument| &argument.ident).collect();
        let names = idents.iter().map(|ident| ident.unraw().to_string());
        let owned: Vec<_> = member.arguments.iter().map(|argument| self.owned(argument)).collect();
        let takes = member.arguments.iter().zip(&owned).enumerate().map(|(place, (argument, ty))| {
            let ident = &argument.ident;
            // If it has no JSON, the error is here.
            let read = pointing_at(&argument.ty, quote!(#private::Next::next));
            quote!(#place => self.#ident = #private::core::option::Option::Some(#read::<#ty>(next)?),)
        });
        let lent = member.arguments.iter().map(|argument| {
            let ident = &argument.ident;
            match argument.lent {
                Lent::Not => quote!(#ident),
                Lent::Str | Lent::Slice(_) | Lent::Value(_) => quote!(#ident: &#ident),
            }
        });
        // No argument is called as this is.
        let into = Ident::new("into", Span::mixed_site());
        let result = quote!(#private::core::result::Result);
        quote! {
            #[derive(#private::core::default::Default)]
            struct #gathered {
                #(#idents: #private::core::option::Option<#owned>,)*
            }

            impl #private::JsonArguments for #gathered {
                const NAMES: &'static [&'static str] = &[#(#names),*];

                fn take<'de, N: #private::Next<'de>>(
                    &mut self,
                    place: #private::core::primitive::usize,
                    next: N,
                ) -> #result<(), N::Error> {
                    match place {
                        #(#takes)*
                        _ => #private::core::mem::drop(next),
                    }
                    #result::Ok(())
                }

                fn archive(
                    self,
                    #into: &mut #private::Encoder<'_>,
                ) -> #result<(), #private::EncodeError> {
                    let Self { #(#idents: #private::core::option::Option::Some(#idents),)* } = self else {
                        return #result::Err(#private::incomplete());
                    };
                    <#private::Rkyv as #private::Format<_>>::encode(&#packed { #(#lent),* }, #into)
                }
            }
        }
    }
}

/// The name of what gathers the arguments of a method.
fn gathered_ident(member: &Member) -> Ident {
    format_ident!("__{}_json", member.ident.unraw())
}
