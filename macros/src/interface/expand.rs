//! Writes what `#[interface]` stands for: the description, clients, and servers' traits with what serves them.
//!
//! All of it is safe code. What has no name for people lives in a block of its own, so that it can collide with nothing.

mod json;
mod servers;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, ItemTrait, Path, Result, Type};

use super::{Argument, Arguments, Interface, Lent, Member, Shape};

pub(crate) fn interface(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = syn::parse2(arguments)?;
    let interface = Interface::read(syn::parse2::<ItemTrait>(item)?, arguments.json.as_ref())?;
    Ok(Expansion::new(&arguments, &interface).all())
}

struct Expansion<'a> {
    arguments: &'a Arguments,
    interface: &'a Interface,
    path: &'a Path,
    private: TokenStream,
    rpc: TokenStream,
    client: Ident,
    async_client: Ident,
    server: Ident,
    async_server: Ident,
    signals: Ident,
}

impl<'a> Expansion<'a> {
    fn new(arguments: &'a Arguments, interface: &'a Interface) -> Self {
        let path = &arguments.path;
        let ident = &interface.ident;
        Self {
            arguments,
            interface,
            path,
            private: quote!(#path::__private),
            rpc: quote!(#path::rpc),
            client: format_ident!("{}Client", ident.unraw()),
            async_client: format_ident!("{}AsyncClient", ident.unraw()),
            server: format_ident!("{}Server", ident.unraw()),
            async_server: format_ident!("{}AsyncServer", ident.unraw()),
            signals: format_ident!("{}Signals", ident.unraw()),
        }
    }

    fn all(&self) -> TokenStream {
        let marker = self.marker();
        let clients = self.clients();
        let servers = [self.server(false), self.server(true)];
        let signals = self.signals();
        let hidden = [
            self.structs(),
            self.description(),
            self.client_impl(),
            self.async_client_impl(),
            self.server_impl(),
            self.async_server_impl(),
            self.json(),
            self.signals_impl().unwrap_or_default(),
        ];
        quote! {
            #marker
            #clients
            #(#servers)*
            #signals
            #[allow(dead_code, non_camel_case_types, non_local_definitions, clippy::all, clippy::pedantic)]
            const _: () = {
                #(#hidden)*
            };
        }
    }

    /// What names the interface.
    fn marker(&self) -> TokenStream {
        let Interface { docs, visibility, ident, .. } = self.interface;
        quote! {
            #(#docs)*
            #[derive(Clone, Copy, Debug)]
            #visibility enum #ident {}
        }
    }

    /// The clients, for threads and for tasks.
    fn clients(&self) -> TokenStream {
        let Self { client, async_client, rpc, .. } = self;
        let Interface { visibility, ident, .. } = self.interface;
        let docs = format!("Calls [`{}`], and waits for answers.", ident.unraw());
        let async_docs =
            format!("Calls [`{}`]; answers are awaited, or waited for later.", ident.unraw());
        quote! {
            #[doc = #docs]
            #[derive(Clone, Debug)]
            #visibility struct #client {
                bound: #rpc::Bound,
            }

            #[doc = #async_docs]
            #[derive(Clone, Debug)]
            #visibility struct #async_client {
                bound: #rpc::Bound,
            }
        }
    }

    /// The method's own error.
    fn error(&self, member: &Member) -> TokenStream {
        let rpc = &self.rpc;
        member.error.as_ref().map_or_else(|| quote!(#rpc::Never), |error| quote!(#error))
    }

    /// How values travel. If they cannot, the error points at where they are declared.
    fn carrier(&self, carries: bool, declared: &impl Spanned) -> TokenStream {
        let rpc = &self.rpc;
        let carrier = if carries { quote!(#rpc::Attaching) } else { quote!(#rpc::Plainly) };
        pointing_at(declared, carrier)
    }

    /// Types of a member for the runtime: the carrier of its arguments, its result and that one's carrier, its error and
    /// that one's.
    fn types(&self, member: &Member) -> [TokenStream; 5] {
        let (result, rpc) = (&member.result, &self.rpc);
        let [given, returned] = member.carries;
        let of_error = match &member.error {
            Some(error) => self.carrier(returned, error),
            None => quote!(#rpc::NoError),
        };
        let given = self.carrier(given, &member.ident);
        let of_result = self.carrier(returned, result);
        [given, quote!(#result), of_result, self.error(member), of_error]
    }

    /// Arguments of each member, as one message.
    fn structs(&self) -> TokenStream {
        let Self { path, private, .. } = self;
        let one = |member: &Member| {
            let name = arguments_ident(member);
            let life = lifetime(member);
            let fields = member.arguments.iter().map(|argument| {
                let ident = &argument.ident;
                let lent = match &argument.lent {
                    Lent::Not => {
                        let ty = &argument.ty;
                        return quote!(#ident: #ty);
                    }
                    Lent::Str => quote!(&'a str),
                    Lent::Slice(ty) => quote!(&'a [#ty]),
                    Lent::Value(ty) => quote!(&'a #ty),
                };
                let with = match &argument.lent {
                    Lent::Value(_) => quote!(#private::LentValue),
                    _ => quote!(#private::Lent),
                };
                quote!(#[rkyv(with = #with)] #ident: #lent)
            });
            let described = member.arguments.iter().map(|argument| {
                let name = argument.ident.unraw().to_string();
                let ty = self.owned(argument);
                let here = argument.ty.span().resolved_at(Span::call_site());
                quote_spanned!(here=> into.field::<#ty>(#name);)
            });
            let format = if member.carries[0] { quote!(Attached) } else { quote!(Rkyv) };
            // If an argument cannot travel, the error is here.
            let format = pointing_at(&member.ident, quote!(#private::#format));
            let for_ever = life.as_ref().map(|_| quote!(<'static>));
            let carries = member.carries[0].then(|| {
                quote! {
                    fn carries() -> #private::Carries {
                        #private::carried_by::<Self>()
                    }
                }
            });
            quote! {
                #[derive(#path::rkyv::Archive, #path::rkyv::Serialize)]
                #[rkyv(crate = #path::rkyv)]
                struct #name #life {
                    #(#fields,)*
                }

                impl #private::Fingerprinted for #name #for_ever {
                    fn fingerprint(into: &mut #private::Schema) {
                        into.structure("arguments");
                        #(#described)*
                    }
                }

                impl #private::Message for #name #for_ever {
                    type Format = #format;

                    fn fingerprint() -> #private::Fingerprint {
                        #private::fingerprint_of::<Self>()
                    }

                    fn name() -> #private::String {
                        #private::name_of::<Self>()
                    }

                    #carries
                }
            }
        };
        self.interface.members.iter().map(one).collect()
    }

    /// The type that an argument is to whoever compares.
    fn owned(&self, argument: &Argument) -> TokenStream {
        let private = &self.private;
        match &argument.lent {
            Lent::Not => {
                let ty: &Type = &argument.ty;
                quote!(#ty)
            }
            Lent::Str => quote!(#private::String),
            Lent::Slice(ty) => quote!(#private::Vec<#ty>),
            Lent::Value(ty) => quote!(#ty),
        }
    }

    /// The description of the interface.
    fn description(&self) -> TokenStream {
        let Self { rpc, private, .. } = self;
        let Interface { ident, visibility, members, .. } = self.interface;
        let Arguments { name, version, .. } = self.arguments;
        let members = members.iter().map(|member| {
            let name = member.ident.unraw().to_string();
            let signature = member.signature();
            let shape = match member.shape {
                Shape::Call => quote!(Call),
                Shape::Stream => quote!(Stream),
                Shape::OneWay => quote!(OneWay),
                Shape::Signal => quote!(Signal),
            };
            let arguments = arguments_ident(member);
            let for_ever = lifetime(member).map(|_| quote!(<'static>));
            let result = &member.result;
            let error = self.error(member);
            let [given, returned] = member.carries;
            let json = member.json.is_some();
            quote! {
                #rpc::Member {
                    shape: #rpc::Shape::#shape,
                    name: #name,
                    signature: #signature,
                    prints: || #rpc::Prints {
                        arguments: #private::fingerprint_of::<#arguments #for_ever>(),
                        result: #private::fingerprint_of::<#result>(),
                        error: #private::fingerprint_of::<#error>(),
                    },
                    carries: [#given, #returned],
                    json: #json,
                    types: |into| {
                        #private::Outlines::add_arguments::<#arguments #for_ever>(into);
                        #private::Outlines::add::<#result>(into);
                        #private::Outlines::add::<#error>(into);
                    },
                }
            }
        });
        quote! {
            impl #ident {
                /// What is compared with the peer's when it is opened.
                #visibility const INTERFACE: #rpc::Interface = #rpc::Interface {
                    name: #name,
                    version: #version,
                    members: &[#(#members),*],
                };
            }
        }
    }

    fn client_impl(&self) -> TokenStream {
        let Self { client, rpc, path, private, .. } = self;
        let visibility = &self.interface.visibility;
        let methods = self.methods(|member| {
            let [given, result, carrier, error, of_error] = self.types(member);
            let outcome = quote!(#private::core::result::Result);
            match member.shape {
                Shape::Call => (
                    quote!(#outcome<#result, #rpc::CallError<#error>>),
                    quote!(call::<_, #given, #result, #carrier, #error, #of_error>),
                ),
                Shape::Stream => (
                    quote!(#outcome<#rpc::Stream<#result, #error>, #rpc::CallError>),
                    quote!(stream::<_, #given, #result, #carrier, #error, #of_error>),
                ),
                Shape::OneWay | Shape::Signal => {
                    (quote!(#outcome<(), #rpc::CallError>), quote!(tell::<_, #given>))
                }
            }
        });
        let bound = self.bound(client);
        quote! {
            #bound

            impl #client {
                /// Connects to a server, and opens the interface there.
                ///
                /// # Errors
                ///
                /// If there is no server, or it does not serve the interface.
                #visibility fn connect(
                    address: impl #path::ToAddress,
                ) -> #private::core::result::Result<Self, #rpc::OpenError> {
                    #rpc::connect_to::<Self>(address)
                }

                #methods
            }
        }
    }

    fn async_client_impl(&self) -> TokenStream {
        let Self { async_client, rpc, path, private, .. } = self;
        let visibility = &self.interface.visibility;
        let methods = self.methods(|member| {
            let [given, result, carrier, error, of_error] = self.types(member);
            let outcome = quote!(#private::core::result::Result);
            match member.shape {
                Shape::Call => (
                    quote!(#rpc::Pending<#result, #error>),
                    quote!(start::<_, #given, #result, #carrier, #error, #of_error>),
                ),
                Shape::Stream => (
                    quote!(#outcome<#rpc::Stream<#result, #error>, #rpc::CallError>),
                    quote!(stream::<_, #given, #result, #carrier, #error, #of_error>),
                ),
                Shape::OneWay | Shape::Signal => {
                    (quote!(#rpc::Pending<()>), quote!(start_telling::<_, #given>))
                }
            }
        });
        let bound = self.bound(async_client);
        quote! {
            #bound

            impl #async_client {
                /// Connects to a server, and opens the interface there.
                ///
                /// # Errors
                ///
                /// If there is no server, or it does not serve the interface.
                #visibility async fn connect(
                    address: impl #path::ToAddress,
                ) -> #private::core::result::Result<Self, #rpc::OpenError> {
                    #rpc::connect_to_async::<Self>(address).await
                }

                #methods
            }
        }
    }

    /// What all clients have.
    fn bound(&self, client: &Ident) -> TokenStream {
        let Self { rpc, .. } = self;
        let Interface { ident, visibility, .. } = self.interface;
        quote! {
            impl #rpc::Client for #client {
                fn interface() -> &'static #rpc::Interface {
                    const { &#ident::INTERFACE }
                }

                fn bind(bound: #rpc::Bound) -> Self {
                    Self { bound }
                }
            }

            impl #client {
                /// The same, with these options for each call.
                #[must_use]
                #visibility fn with(&self, options: #rpc::Options) -> Self {
                    Self { bound: self.bound.with(options) }
                }

                /// The session in which it was opened.
                #[must_use]
                #visibility fn link(&self) -> #rpc::Link {
                    self.bound.link()
                }
            }
        }
    }

    /// What sends the signals of an interface that has some.
    fn signals(&self) -> Option<TokenStream> {
        let Self { signals, rpc, .. } = self;
        let Interface { visibility, ident, members, .. } = self.interface;
        members.iter().find(|member| member.shape == Shape::Signal)?;
        let docs = format!("Sends the signals of [`{}`].", ident.unraw());
        Some(quote! {
            #[doc = #docs]
            #[derive(Clone, Debug)]
            #visibility struct #signals {
                signals: #rpc::Signals,
            }
        })
    }

    fn signals_impl(&self) -> Option<TokenStream> {
        let Self { signals, rpc, path, private, .. } = self;
        let Interface { ident: interface, visibility, members, .. } = self.interface;
        members.iter().find(|member| member.shape == Shape::Signal)?;
        let all = members.iter().enumerate();
        let all = all.filter(|(_, member)| member.shape == Shape::Signal);
        let methods = all.map(|(place, member)| {
            let Member { docs, ident, arguments, .. } = member;
            let parameters: Vec<_> =
                arguments.iter().map(|Argument { ident, ty, .. }| quote!(#ident: #ty)).collect();
            let names: Vec<_> = arguments.iter().map(|argument| &argument.ident).collect();
            let packed = arguments_ident(member);
            let to_one = format_ident!("{}_to", ident.unraw());
            let to_docs = "The same, to one caller. Whether it had subscribed.";
            let outcome = quote!(#private::core::result::Result);
            quote! {
                #(#docs)*
                ///
                /// To all who subscribed.
                ///
                /// # Errors
                ///
                /// If it cannot be encoded.
                #visibility fn #ident(
                    &self,
                    #(#parameters),*
                ) -> #outcome<#rpc::Reached, #path::EncodeError> {
                    self.signals.send::<_, #rpc::Plainly>(#place, &#packed { #(#names),* })
                }

                #[doc = #to_docs]
                ///
                /// # Errors
                ///
                /// If it could not be sent.
                #visibility fn #to_one(
                    call: &#rpc::Call<'_>,
                    #(#parameters),*
                ) -> #outcome<bool, #rpc::CallError> {
                    #rpc::signal_to::<_, #rpc::Plainly>(
                        call,
                        const { &#interface::INTERFACE },
                        #place,
                        &#packed { #(#names),* },
                    )
                }
            }
        });
        Some(quote! {
            impl #signals {
                /// For a service, which is told of it: `Serve::signals`. `slow` says what becomes of a signal for which a subscriber
                /// has no room.
                #[must_use]
                #visibility fn new(slow: #path::fanout::Slow) -> Self {
                    Self { signals: #rpc::Signals::new(const { &#interface::INTERFACE }, slow) }
                }

                /// Sends what waits for room, under `Slow::KeepLatest`, where there is some now.
                #visibility fn flush(&self) {
                    self.signals.flush();
                }

                #(#methods)*
            }

            impl #private::core::convert::AsRef<#rpc::Signals> for #signals {
                fn as_ref(&self) -> &#rpc::Signals {
                    &self.signals
                }
            }
        })
    }

    /// A client's method that subscribes to a signal.
    fn subscribing(&self, place: usize, member: &Member) -> TokenStream {
        let Self { rpc, private, .. } = self;
        let visibility = &self.interface.visibility;
        let Member { docs, ident, arguments, .. } = member;
        let types: Vec<_> = arguments.iter().map(|argument| self.owned(argument)).collect();
        let names = arguments.iter().map(|argument| &argument.ident);
        let values: Vec<_> = names
            .zip(&types)
            .map(|(name, ty)| quote!(#private::deserialize::<#ty>(&arguments.#name)?))
            .collect();
        // One alone is itself.
        let (item, value) = match (&types[..], &values[..]) {
            ([ty], [value]) => (quote!(#ty), quote!(#value)),
            _ => (quote!((#(#types),*)), quote!((#(#values),*))),
        };
        let packed = arguments_ident(member);
        let for_ever = lifetime(member).map(|_| quote!(<'static>));
        let outcome = quote!(#private::core::result::Result);
        quote! {
            #(#docs)*
            ///
            /// Subscribes to it: what comes are its arguments.
            ///
            /// # Errors
            ///
            /// If the peer has no such signal, or lets this process not subscribe.
            #visibility fn #ident(&self) -> #outcome<#rpc::Subscription<#item>, #rpc::CallError> {
                self.bound.subscribe(#place, |body| {
                    #rpc::read_signal::<#packed #for_ever, _>(body, |arguments| {
                        let _ = &arguments;
                        #outcome::Ok(#value)
                    })
                })
            }
        }
    }

    /// A client's methods: `how` says what each returns, and what makes the call.
    fn methods(&self, how: impl Fn(&Member) -> (TokenStream, TokenStream)) -> TokenStream {
        let visibility = &self.interface.visibility;
        let methods = self.interface.members.iter().enumerate().map(|(place, member)| {
            if member.shape == Shape::Signal {
                return self.subscribing(place, member);
            }
            let Member { docs, ident, arguments, .. } = member;
            let parameters = arguments.iter().map(|Argument { ident, ty, .. }| quote!(#ident: #ty));
            let names: Vec<_> = arguments.iter().map(|argument| &argument.ident).collect();
            let packed = arguments_ident(member);
            let (returned, how) = how(member);
            quote! {
                #(#docs)*
                #visibility fn #ident(&self, #(#parameters),*) -> #returned {
                    self.bound.#how(#place, &#packed { #(#names),* })
                }
            }
        });
        methods.collect()
    }
}

/// The name of the message that a member's arguments are: one that no type of an argument has.
fn arguments_ident(member: &Member) -> Ident {
    format_ident!("__{}_arguments", member.ident.unraw())
}

/// The same tokens, as if they were written there. They mean what they mean here.
fn pointing_at(there: &impl Spanned, tokens: TokenStream) -> TokenStream {
    let span = there.span().resolved_at(Span::call_site());
    let respan = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    tokens.into_iter().map(respan).collect()
}

/// The lifetime of what is lent, if anything is.
fn lifetime(member: &Member) -> Option<TokenStream> {
    let lent = |argument: &Argument| !matches!(argument.lent, Lent::Not);
    member.arguments.iter().any(lent).then(|| quote!(<'a>))
}
