//! Section D of the list: the words of the lanes, frames, and wakes.

use memring::Reason;

use crate::scene::Scene;

#[test]
fn attack_51_a_head_past_the_tail_is_a_fault() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker_at("ready");
    attacker.run("head 0x100000");
    attacker.run("send 00 timeout=1000");
    scene.poisoned(Reason::LaneHead);
    drop(attacker);
    scene.finish();
}
