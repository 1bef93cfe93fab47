// SPDX-License-Identifier: MPL-2.0
//! Planned faults: lines of the file that `WHISPERNPU_DRIVER_FAULTS` names.
//!
//! `timeout` strikes each time, `timeout:3` the third time only, `timeout:3+` from the third on.

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device node may not be opened.
    Open,
    /// The driver cannot share memory with the device.
    Iommu,
    /// No memory may be locked.
    Memlock,
    /// All contexts are taken.
    Context,
    /// The device heap has no room for the overlay's image. (XRT's own `register_xclbin` asks
    /// nothing of the driver: it notes the file, and the image goes to the device when a context is
    /// made of it.)
    Register,
    /// The firmware refuses the overlay.
    Configure,
    /// No memory for a buffer of data.
    Buffer,
    /// A command is refused.
    Start,
    /// A command never ends.
    Timeout,
    /// A command ends in an error.
    Error,
    /// The device is gone.
    Lost,
    /// A command ends well, and its product is nonsense.
    Garbage,
}

const NAMES: [(&str, Fault); 12] = [
    ("open", Fault::Open),
    ("iommu", Fault::Iommu),
    ("memlock", Fault::Memlock),
    ("context", Fault::Context),
    ("register", Fault::Register),
    ("configure", Fault::Configure),
    ("buffer", Fault::Buffer),
    ("start", Fault::Start),
    ("timeout", Fault::Timeout),
    ("error", Fault::Error),
    ("lost", Fault::Lost),
    ("garbage", Fault::Garbage),
];

struct Rule {
    fault: Fault,
    from: u64,
    to: u64,
    seen: u64,
}

/// The faults of one opening of the device.
#[derive(Default)]
pub struct Faults(Vec<Rule>);

impl Faults {
    pub fn from_environment() -> Self {
        let path = std::env::var_os("WHISPERNPU_DRIVER_FAULTS");
        let text = path.and_then(|path| std::fs::read_to_string(path).ok());
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let rule = |line: &str| {
            let (name, when) = line.split_once(':').unwrap_or((line, "1+"));
            let &(_, fault) = NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .unwrap_or_else(|| panic!("no such fault: {line}"));
            let from: u64 = when
                .trim_end_matches('+')
                .parse()
                .unwrap_or_else(|_| panic!("no number: {line}"));
            let to = if when.ends_with('+') { u64::MAX } else { from };
            Rule {
                fault,
                from,
                to,
                seen: 0,
            }
        };
        Self(text.split_whitespace().map(rule).collect())
    }

    /// Whether `fault` happens this time. To be asked once each time it could.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let mut strikes = false;
        for rule in self.0.iter_mut().filter(|rule| rule.fault == fault) {
            rule.seen += 1;
            strikes |= (rule.from..=rule.to).contains(&rule.seen);
        }
        strikes
    }
}
