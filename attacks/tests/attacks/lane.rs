//! Section D of the list: the words of the lanes, frames, and wakes.

use memring::Reason;

use crate::scene::Scene;

#[test]
fn attack_57_a_frame_of_unknown_kind_is_a_fault() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker_at("ready");
    attacker.run("frame kind=9 len=8 payload=0011223344556677");
    scene.poisoned(Reason::LaneKind);
    drop(attacker);
    scene.finish();
}
