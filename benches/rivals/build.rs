//! Generates client and server of the gRPC service.
//!
//! What stands in a `.proto` file elsewhere: `service Calls { rpc Echo(Quad) returns (Quad); }` of package `memring`.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let echo = Method::builder()
        .name("echo")
        .route_name("Echo")
        .input_type("crate::calls::grpc::Quad")
        .output_type("crate::calls::grpc::Quad")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let calls = Service::builder().name("Calls").package("memring").method(echo).build();
    Builder::new().compile(&[calls]);
    println!("cargo:rerun-if-changed=build.rs");
}
