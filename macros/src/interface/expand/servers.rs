//! Writes what serves an interface: the traits that servers implement, for threads and for tasks, and what calls them.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;

use super::super::{Argument, Interface, Lent, Member, Shape};
use super::{Expansion, arguments_ident, lifetime, pointing_at};

impl Expansion<'_> {
    /// The trait that a server implements, for threads or for tasks.
    pub(super) fn server(&self, in_tasks: bool) -> TokenStream {
        let Self { server, async_server, rpc, private, .. } = self;
        let Interface { visibility, ident: interface, .. } = self.interface;
        let interface = interface.unraw();
        let (name, docs) = if in_tasks {
            (
                async_server,
                format!(
                    "Serves [`{interface}`] in tasks: `{interface}::serve_async` makes a service of whoever implements it. \
                     Its methods are written as `async fn`."
                ),
            )
        } else {
            (
                server,
                format!(
                    "Serves [`{interface}`]: `{interface}::serve` makes a service of whoever implements it."
                ),
            )
        };
        let methods = self.interface.members.iter().filter_map(|member| {
            let Member { docs, ident, .. } = member;
            let mut parameters: Vec<_> =
                member.arguments.iter().map(|one| self.received(one)).collect();
            let result = match member.shape {
                Shape::Call => self.returned(member),
                Shape::OneWay => quote!(()),
                Shape::Stream => {
                    let (item, error) = (&member.result, self.error(member));
                    parameters.push(quote!(replies: #rpc::Replies<#item, #error>));
                    quote!(())
                }
                Shape::Signal => return None,
            };
            let result = if in_tasks {
                quote! {
                    impl #private::core::future::Future<Output = #result> + #private::core::marker::Send
                }
            } else {
                result
            };
            Some(quote! {
                #(#docs)*
                fn #ident(&self, call: &#rpc::Call<'_>, #(#parameters),*) -> #result;
            })
        });
        quote! {
            #[doc = #docs]
            #[allow(clippy::too_many_arguments)]
            #visibility trait #name: #private::core::marker::Send
                + #private::core::marker::Sync + 'static
            {
                #(#methods)*
            }
        }
    }

    /// What a handler returns.
    fn returned(&self, member: &Member) -> TokenStream {
        let (private, result) = (&self.private, &member.result);
        match &member.error {
            Some(error) => quote!(#private::core::result::Result<#result, #error>),
            None => quote!(#result),
        }
    }

    /// A handler's parameter.
    fn received(&self, argument: &Argument) -> TokenStream {
        let (ident, path) = (&argument.ident, self.path);
        match &argument.lent {
            Lent::Not => {
                let ty = &argument.ty;
                quote!(#ident: #ty)
            }
            Lent::Str => quote!(#ident: &str),
            Lent::Slice(ty) => quote!(#ident: &[#path::rkyv::Archived<#ty>]),
            Lent::Value(ty) => quote!(#ident: &#path::rkyv::Archived<#ty>),
        }
    }

    pub(super) fn server_impl(&self) -> TokenStream {
        let Self { server, rpc, .. } = self;
        let Interface { ident, visibility, .. } = self.interface;
        let arms = self.interface.members.iter().enumerate().filter_map(|(place, member)| {
            let place = place as u32; // at most 1024
            let [_, _, carrier, _, of_error] = self.types(member);
            let answer = self.answer(member, &carrier, &of_error)?;
            Some(quote!(#place => #answer,))
        });
        let json = self.json_answer();
        let serve_docs = format!("Has [`{server}`] served by what implements it.");
        quote! {
            struct __Serves<__S>(__S);

            impl<__S: #server> #rpc::Service for __Serves<__S> {
                fn interface(&self) -> &'static #rpc::Interface {
                    const { &#ident::INTERFACE }
                }

                fn call(&self, member: u32, request: #rpc::Request<'_>) {
                    match member {
                        #(#arms)*
                        _ => {} // members are looked at before
                    }
                }

                #json
            }

            impl #ident {
                #[doc = #serve_docs]
                #visibility fn serve(server: impl #server) -> #rpc::Serve {
                    #rpc::Serve::new(__Serves(server))
                }
            }
        }
    }

    /// Has a request answered by the handler of a method, whose result and error travel so.
    pub(super) fn answer(
        &self,
        member: &Member,
        carrier: &TokenStream,
        of_error: &TokenStream,
    ) -> Option<TokenStream> {
        let Self { server, private, .. } = self;
        let name = &member.ident;
        let arguments = arguments_ident(member);
        let for_ever = lifetime(member).map(|_| quote!(<'static>));
        let arguments = quote!(#arguments #for_ever);
        let given = self.given(member, &quote!(arguments.carried()));
        let [_, result, _, error, _] = self.types(member);
        let ok = quote!(#private::core::result::Result::Ok);
        let call = quote!(<__S as #server>::#name(&self.0, call, #(#given),*));
        Some(match member.shape {
            Shape::Call => {
                let outcome = if member.error.is_some() { call } else { quote!(#ok(#call)) };
                quote! {
                    request.answer_last::<#arguments, #result, #carrier, #error, #of_error>(
                        |call, arguments| #ok(#outcome),
                    )
                }
            }
            Shape::OneWay => quote! {
                request.tell::<#arguments>(|call, arguments| #ok(#call))
            },
            Shape::Stream => quote! {
                request.stream::<#arguments, #result, #carrier, #error, #of_error>(
                    |call, arguments, replies| #ok(
                        <__S as #server>::#name(&self.0, call, #(#given,)* replies())
                    ),
                )
            },
            Shape::Signal => return None,
        })
    }

    pub(super) fn async_server_impl(&self) -> TokenStream {
        let Self { async_server, rpc, private, .. } = self;
        let Interface { ident, visibility, .. } = self.interface;
        let arms = self.interface.members.iter().enumerate().filter_map(|(place, member)| {
            let place = place as u32; // at most 1024
            let [_, _, carrier, _, of_error] = self.types(member);
            let answer = self.async_answer(member, &carrier, &of_error)?;
            Some(quote!(#place => #private::Box::pin(async move { #answer }),))
        });
        let json = self.json_async_answer();
        let serve_docs = format!("Has [`{async_server}`] served by what implements it.");
        quote! {
            struct __ServesInTasks<__S>(__S);

            impl<__S: #async_server> #rpc::AsyncService for __ServesInTasks<__S> {
                fn interface(&self) -> &'static #rpc::Interface {
                    const { &#ident::INTERFACE }
                }

                fn call(
                    self: #private::Arc<Self>,
                    member: u32,
                    request: #rpc::TaskRequest,
                ) -> #rpc::Work {
                    match member {
                        #(#arms)*
                        _ => #private::Box::pin(async {}), // members are looked at before
                    }
                }

                #json
            }

            impl #ident {
                #[doc = #serve_docs]
                #visibility fn serve_async(server: impl #async_server) -> #rpc::Serve {
                    #rpc::Serve::new_async(__ServesInTasks(server))
                }
            }
        }
    }

    /// The same as [`answer`](Self::answer), in a task.
    pub(super) fn async_answer(
        &self,
        member: &Member,
        carrier: &TokenStream,
        of_error: &TokenStream,
    ) -> Option<TokenStream> {
        let Self { async_server, rpc, private, .. } = self;
        let name = &member.ident;
        let arguments = arguments_ident(member);
        let for_ever = lifetime(member).map(|_| quote!(<'static>));
        let arguments = quote!(#arguments #for_ever);
        let given = self.given(member, &quote!(request.carried::<#arguments>()?));
        let [_, result, _, error, _] = self.types(member);
        let ok = quote!(#private::core::result::Result::Ok);
        let more = match member.shape {
            Shape::Stream => quote!(request.replies::<#result, #carrier, #error, #of_error>()?),
            _ => quote!(),
        };
        let call = quote!(<__S as #async_server>::#name(&self.0, &call, #(#given,)* #more).await);
        let outcome = match (member.shape, &member.error) {
            (Shape::Call, None) => quote!(#ok(#call)),
            _ => call,
        };
        let came_to = quote! {
            #rpc::caught(async {
                let call = request.call();
                let arguments = request.arguments::<#arguments>()?;
                #ok(#outcome)
            })
            .await
        };
        Some(match member.shape {
            Shape::Call => quote! {
                let came_to = #came_to;
                request.answer::<#result, #carrier, #error, #of_error>(came_to).await
            },
            Shape::OneWay | Shape::Stream => quote! {
                if let #private::core::result::Result::Err(refused) = #came_to {
                    request.refuse(refused);
                }
            },
            Shape::Signal => return None,
        })
    }

    /// A handler's arguments, out of those that came; `carried` is what these carry.
    fn given(&self, member: &Member, carried: &TokenStream) -> Vec<TokenStream> {
        let private = &self.private;
        let one = |argument: &Argument| {
            let (ident, ty) = (&argument.ident, &argument.ty);
            match (&argument.lent, member.carries[0]) {
                (Lent::Str, _) => quote!(arguments.#ident.as_str()),
                (Lent::Slice(_), _) => quote!(arguments.#ident.as_slice()),
                (Lent::Value(_), _) => quote!(&arguments.#ident),
                (Lent::Not, false) => {
                    let deserialize = pointing_at(ty, quote!(#private::deserialize));
                    quote!(#deserialize::<#ty>(&arguments.#ident)?)
                }
                (Lent::Not, true) => {
                    quote!(#private::take_value::<#ty>(&arguments.#ident, #carried)?)
                }
            }
        };
        member.arguments.iter().map(one).collect()
    }
}
