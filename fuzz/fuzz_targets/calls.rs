#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memring_fuzz_bodies::calls::run(data));
