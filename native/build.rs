//! Tells the linker what an N-API module needs on this platform.

fn main() {
    napi_build::setup();
}
