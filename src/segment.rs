// SPDX-License-Identifier: MPL-2.0
//! Segments that go on where the one before them was.

use gst::ClockTime;

type Segment = gst::FormattedSegment<ClockTime>;

/// Whether time stamps mean the same in both segments: the second one only says again, or differently,
/// where the first was. It may begin later, or end elsewhere.
pub fn goes_on(before: &Segment, after: &Segment) -> bool {
    let is_forward = |segment: &Segment| segment.rate() > 0.0;
    // Both are lines: of one slope, and through one point.
    let times = |segment: &Segment| {
        (
            segment.to_running_time_full(ClockTime::ZERO),
            segment.to_stream_time_full(ClockTime::ZERO),
        )
    };
    is_forward(before)
        && is_forward(after)
        && before.rate() == after.rate()
        && before.applied_rate() == after.applied_rate()
        && before.flags() == after.flags()
        && times(before) == times(after)
}

/// The event of the first segment with the end of the second, for text that began in the first.
pub fn prolonged(before: &gst::Event, after: &gst::Event) -> Option<gst::Event> {
    let (before, seqnum) = (segment_of(before)?, after.seqnum());
    let stop = segment_of(after)?.stop();
    if before.stop() == stop {
        return None;
    }
    let mut prolonged = before;
    prolonged.set_stop(stop);
    Some(
        gst::event::Segment::builder(&prolonged)
            .seqnum(seqnum)
            .build(),
    )
}

/// The segment in time of an event.
pub fn segment_of(event: &gst::Event) -> Option<Segment> {
    let gst::EventView::Segment(segment) = event.view() else {
        return None;
    };
    segment.segment().downcast_ref().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: u64, base: u64, stop: Option<u64>) -> Segment {
        gst::init().expect("GStreamer");
        let mut segment = Segment::new();
        segment.set_start(ClockTime::from_seconds(start));
        segment.set_time(ClockTime::from_seconds(start));
        segment.set_base(ClockTime::from_seconds(base));
        segment.set_stop(stop.map(ClockTime::from_seconds));
        segment
    }

    #[test]
    fn segments_with_the_same_times_go_on() {
        let first = segment(0, 0, None);
        assert!(goes_on(&first, &first));
        assert!(goes_on(&first, &segment(5, 5, None)));
        assert!(goes_on(&first, &segment(5, 5, Some(9))));
        assert!(goes_on(&segment(100, 0, None), &segment(105, 5, None)));
    }

    #[test]
    fn segments_with_other_times_do_not() {
        let first = segment(0, 0, None);
        assert!(!goes_on(&first, &segment(0, 5, None)), "as concat has it");
        assert!(!goes_on(&first, &segment(5, 0, None)), "as after a seek");
        let mut fast = first.clone();
        fast.set_rate(2.0);
        assert!(!goes_on(&first, &fast));
        let mut elsewhere = first.clone();
        elsewhere.set_time(ClockTime::from_seconds(7));
        assert!(!goes_on(&first, &elsewhere));
        let mut back = first.clone();
        back.set_rate(-1.0);
        assert!(!goes_on(&back, &back));
    }

    #[test]
    fn only_another_end_prolongs() {
        let event = |segment: &Segment| gst::event::Segment::new(segment);
        let first = event(&segment(0, 0, Some(5)));
        assert!(prolonged(&first, &event(&segment(2, 2, Some(5)))).is_none());
        let longer = prolonged(&first, &event(&segment(5, 5, Some(10)))).expect("longer");
        assert_eq!(segment_of(&longer), Some(segment(0, 0, Some(10))));
    }
}
