// SPDX-License-Identifier: MPL-2.0
//! Queries: latency for downstream, buffers for upstream.

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::element::{CAT, lock};
use crate::imp::WhisperNpu;

/// Audio that a buffer of our pool holds. Elements that use a pool fill its buffers without asking for their size, so
/// they are larger than any that is in use.
const POOL_BUFFER_SECONDS: u32 = 4;

impl WhisperNpu {
    pub(super) fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Allocation(allocation) => propose_pool(allocation),
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    pub(super) fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                self.answer_latency(latency);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    /// Always answered: an application may ask before anything is linked or loaded.
    fn answer_latency(&self, query: &mut gst::query::Latency) {
        let Some((live, min, max)) = self.upstream_latency() else {
            return query.set(false, gst::ClockTime::ZERO, gst::ClockTime::NONE);
        };
        if !live {
            return query.set(live, min, max);
        }
        let min = min.saturating_add(lock(&self.settings).latency());
        gst::debug!(CAT, imp = self, "latency {min}");
        // Audio is taken in without waiting for its text, so nothing upstream has to hold it for us.
        query.set(live, min, gst::ClockTime::NONE);
    }

    /// Whether upstream is live, and its least and greatest latency.
    pub(super) fn upstream_latency(
        &self,
    ) -> Option<(bool, gst::ClockTime, Option<gst::ClockTime>)> {
        let mut query = gst::query::Latency::new();
        self.sinkpad.peer_query(&mut query).then(|| query.result())
    }

    pub(super) fn is_upstream_live(&self) -> bool {
        self.upstream_latency().is_some_and(|(live, ..)| live)
    }
}

fn propose_pool(query: &mut gst::query::Allocation) -> bool {
    let (caps, _) = query.get_owned();
    let Some((caps, info)) = caps.and_then(|caps| {
        let info = gst_audio::AudioInfo::from_caps(&caps).ok()?;
        Some((caps, info))
    }) else {
        return false;
    };
    let size = info.rate() * info.bpf() * POOL_BUFFER_SECONDS;
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    // Unbounded: buffers that we hold must not stop upstream.
    config.set_params(Some(&caps), size, 0, 0);
    if pool.set_config(config).is_err() {
        return false;
    }
    query.add_allocation_pool(Some(&pool), size, 0, 0);
    true
}
