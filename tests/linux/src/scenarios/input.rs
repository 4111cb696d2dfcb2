//! What is typed and pointed at arrives in the guest.

use std::time::Duration;

use crate::context::Context;
use crate::guest::Guest;
use crate::rfb::RfbClient;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Keys and pointer, from the control socket and by VNC.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "input",
    about: "keys and absolute pointer of the control socket and of a VNC client are evdev events exactly as sent",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(40),
    run,
};

/// What a device is called in the guest.
const KEYBOARD: &str = "AT Translated Set 2 keyboard";
const MOUSE: &str = "Microsoft Vmbus HID-compliant Mouse";

/// Types of events.
const KEY: u16 = 1;
const RELATIVE: u16 = 2;
const ABSOLUTE: u16 = 3;

/// Codes of events.
const X: u16 = 0;
const Y: u16 = 1;
const WHEEL: u16 = 8;
const LEFT: u16 = 0x110;
const RIGHT: u16 = 0x111;
const MIDDLE: u16 = 0x112;

/// The value of a key that is held: the guest's own doing.
const REPEAT: i32 = 2;

/// Bytes of an event on its device.
const SIZE: usize = 24;

/// An event: type, code, value.
type Event = (u16, u16, i32);

fn run(context: &mut Context) -> Result<(), Trouble> {
    let socket = context.scratch().join("vnc");
    let address = format!("unix:{}", socket.display());
    let machine = context.machine().arguments(["--screen", "--vnc", &address]);
    let mut guest = context.start(&machine)?;
    let mut keyboard = Device::open(&mut guest, KEYBOARD)?;
    let mut mouse = Device::open(&mut guest, MOUSE)?;

    guest.ctl(&[
        "keys",
        "a",
        "shift+b",
        "f12",
        "up",
        "right-ctrl+altgr+x",
        "keypad-enter",
    ])?;
    let mut expected = strokes(&[30]);
    expected.extend(chord(&[42, 48]));
    expected.extend(strokes(&[88, 103]));
    expected.extend(chord(&[97, 100, 45]));
    expected.extend(strokes(&[96]));
    keyboard.expect(&mut guest, "keys", &expected)?;

    guest.ctl(&["keys", "--text", "Hi 7?\n"])?;
    let mut expected = chord(&[42, 35]);
    expected.extend(strokes(&[23, 57, 8]));
    expected.extend(chord(&[42, 53]));
    expected.extend(strokes(&[28]));
    keyboard.expect(&mut guest, "text", &expected)?;

    for (order, expected) in [
        (
            &["--x", "100", "--y", "32767"][..],
            &[(ABSOLUTE, X, 100), (ABSOLUTE, Y, 32767)][..],
        ),
        (&["--x", "16384"], &[(ABSOLUTE, X, 16384)]),
        (&["--y", "0"], &[(ABSOLUTE, Y, 0)]),
        (&["--buttons", "left"], &[(KEY, LEFT, 1)]),
        (
            &["--x", "5", "--buttons", "left,right"],
            &[(ABSOLUTE, X, 5), (KEY, RIGHT, 1)],
        ),
        (
            &["--buttons", "middle"],
            &[(KEY, LEFT, 0), (KEY, RIGHT, 0), (KEY, MIDDLE, 1)],
        ),
        (&["--buttons"], &[(KEY, MIDDLE, 0)]),
        (&["--wheel", "2"], &[(RELATIVE, WHEEL, 2)]),
        (&["--wheel", "-1"], &[(RELATIVE, WHEEL, -1)]),
    ] {
        let mut words = vec!["mouse"];
        words.extend(order);
        guest.ctl(&words)?;
        mouse.expect(&mut guest, &words.join(" "), expected)?;
    }
    by_vnc(context, &mut guest, &mut keyboard, &mut mouse, &socket)
}

fn by_vnc(
    context: &Context,
    guest: &mut Guest,
    keyboard: &mut Device,
    mouse: &mut Device,
    socket: &std::path::Path,
) -> Result<(), Trouble> {
    let mut client = RfbClient::connect(socket, context.patience())?;
    let (width, height) = client.size();
    // "e", Shift and "Q", Return, and Delete.
    for (key, pressed) in [
        (0x65, true),
        (0x65, false),
        (0xFFE1, true),
        (0x51, true),
        (0x51, false),
        (0xFFE1, false),
        (0xFF0D, true),
        (0xFF0D, false),
        (0xFFFF, true),
        (0xFFFF, false),
    ] {
        client.key(key, pressed)?;
    }
    let mut expected = strokes(&[18]);
    expected.extend(chord(&[42, 16]));
    expected.extend(strokes(&[28, 111]));
    keyboard.expect(guest, "VNC keys", &expected)?;

    let corner = [(ABSOLUTE, X, 32767), (ABSOLUTE, Y, 32767)];
    client.pointer(width - 1, height - 1, 0)?;
    mouse.expect(guest, "VNC corner", &corner)?;
    client.pointer(0, 0, 0)?;
    mouse.expect(guest, "VNC origin", &[(ABSOLUTE, X, 0), (ABSOLUTE, Y, 0)])?;
    for (buttons, expected) in [
        (1, &[(KEY, LEFT, 1)][..]),
        (1 | 4, &[(KEY, RIGHT, 1)]),
        (2, &[(KEY, LEFT, 0), (KEY, RIGHT, 0), (KEY, MIDDLE, 1)]),
        (0, &[(KEY, MIDDLE, 0)]),
        (8, &[(RELATIVE, WHEEL, 1)]),
        (0, &[]),
        (16, &[(RELATIVE, WHEEL, -1)]),
    ] {
        client.pointer(0, 0, buttons)?;
        mouse.expect(guest, &format!("VNC buttons {buttons}"), expected)?;
    }
    Ok(())
}

/// Keys pressed and released one after the other.
fn strokes(keys: &[u16]) -> Vec<Event> {
    let both = |key: &u16| [(KEY, *key, 1), (KEY, *key, 0)];
    keys.iter().flat_map(both).collect()
}

/// Keys held together: pressed in this order, released in the opposite one.
fn chord(keys: &[u16]) -> Vec<Event> {
    let pressed = keys.iter().map(|key| (KEY, *key, 1));
    let released = keys.iter().rev().map(|key| (KEY, *key, 0));
    pressed.chain(released).collect()
}

/// A device of the guest's, all of whose events are written down.
struct Device {
    file: String,
    /// How many bytes of the file have been looked at.
    seen: usize,
}

impl Device {
    fn open(guest: &mut Guest, name: &str) -> Result<Self, Trouble> {
        let find = format!(
            "event=; for at in /sys/class/input/event*; do [ \"$(cat $at/device/name)\" = '{name}' ] && event=${{at##*/}}; done; [ -n \"$event\" ] && [ -c /dev/input/$event ]"
        );
        guest
            .wait_until(&find)
            .map_err(|trouble| trouble.during(name))?;
        let event = guest.sh(&format!("{find}; echo $event"))?;
        let file = format!("/tmp/{event}");
        // It is open when this returns: what comes later is not missed.
        guest.sh(&format!(
            "cat /dev/input/{event} > {file} 2> /dev/null & echo $! > {file}.id"
        ))?;
        guest.wait_until(&format!(
            "ls -l /proc/$(cat {file}.id)/fd | grep -q /dev/input/{event}"
        ))?;
        Ok(Self { file, seen: 0 })
    }

    /// The next events are these and no others, but for reports' ends, key codes of the hardware and repetitions.
    fn expect(&mut self, guest: &mut Guest, what: &str, expected: &[Event]) -> Result<(), Trouble> {
        let (mut got, mut bytes) = (Vec::new(), 0);
        for _ in 0..50 {
            (got, bytes) = self.events(guest)?;
            if got.len() >= expected.len() {
                break;
            }
            guest.sh("sleep 0.1")?;
        }
        self.seen += bytes;
        ensure(got == expected, || {
            format!("{what}: the guest got {got:?} instead of {expected:?}")
        })
    }

    /// The events that have not been looked at, and their bytes.
    fn events(&self, guest: &mut Guest) -> Result<(Vec<Event>, usize), Trouble> {
        let script = format!("tail -c +{} {}", self.seen + 1, self.file);
        let bytes = guest.run(&script)?.stdout;
        let whole = bytes.len() / SIZE * SIZE;
        // Two words of time, then type, code and value.
        let events = bytes.as_chunks::<SIZE>().0.iter().map(|event| {
            let word = |at: usize| u16::from_le_bytes([event[at], event[at + 1]]);
            let value = i32::from(word(20)) | i32::from(word(22)) << 16;
            (word(16), word(18), value)
        });
        let wanted = |(kind, code, value): &Event| match *kind {
            KEY => *value != REPEAT,
            // The wheel in finer units says the same again.
            RELATIVE => *code == WHEEL,
            kind => kind == ABSOLUTE,
        };
        Ok((events.filter(wanted).collect(), whole))
    }
}
