//! A page of metrics in the making: families with their samples, then the text that Prometheus reads.
//!
//! Made anew for each scrape from plain numbers, so there is no registry, and two proxies in one
//! process know nothing of each other.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as ProtoHistogram, LabelPair, Metric, MetricFamily,
    MetricType,
};

use crate::worker::stats::Histogram;

/// What a metric is called, and what it tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name(pub(super) &'static str, pub(super) &'static str);

/// One label of a sample.
pub(super) type Label<'a> = (&'static str, &'a str);

/// The families of one scrape.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<MetricFamily>);

impl Page {
    /// A number that only grows, without labels.
    pub(super) fn count(&mut self, name: Name, value: u64) {
        self.counters(name, [([], value as f64)]);
    }

    /// A number that only grows, without labels, that need not be whole.
    pub(super) fn total(&mut self, name: Name, value: f64) {
        self.counters(name, [([], value)]);
    }

    /// Numbers that only grow, by labels, or by none.
    pub(super) fn counters<'a, L: IntoIterator<Item = Label<'a>>>(
        &mut self,
        name: Name,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) {
        let metric = samples.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = labelled(labels);
            metric.set_counter(counter);
            metric
        });
        self.add(name, MetricType::COUNTER, metric.collect());
    }

    /// A number that comes and goes, without labels.
    pub(super) fn gauge(&mut self, name: Name, value: f64) {
        self.gauges(name, [([], value)]);
    }

    /// Numbers that come and go, by labels, or by none.
    pub(super) fn gauges<'a, L: IntoIterator<Item = Label<'a>>>(
        &mut self,
        name: Name,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) {
        let metric = samples.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = labelled(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.add(name, MetricType::GAUGE, metric.collect());
    }

    /// How long things took.
    pub(super) fn histogram(&mut self, name: Name, histogram: &Histogram) {
        let buckets = histogram.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut proto = ProtoHistogram::default();
        proto.set_bucket(buckets.collect());
        proto.set_sample_count(histogram.count());
        proto.set_sample_sum(histogram.sum().as_secs_f64());
        let mut metric = Metric::default();
        metric.set_histogram(proto);
        self.add(name, MetricType::HISTOGRAM, vec![metric]);
    }

    /// A family without samples is left out: the format has no way to say it.
    fn add(&mut self, Name(name, help): Name, kind: MetricType, metric: Vec<Metric>) {
        if metric.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metric);
        self.0.push(family);
    }

    /// The text exposition format, version 0.0.4.
    pub(super) fn text(&self) -> String {
        let text = TextEncoder::new().encode_to_string(&self.0);
        text.expect("each family has a name and samples")
    }
}

fn labelled<'a>(labels: impl IntoIterator<Item = Label<'a>>) -> Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_in_prometheus_words() {
        let mut page = Page::default();
        page.count(Name("a_total", "Of a."), 7);
        page.gauges(
            Name("b", "Of b."),
            [(Some(("k", "with \"quotes\"\n")), 0.5)],
        );
        let both = [("k", "1"), ("l", "2")];
        page.gauges(Name("c", "Of c."), [(both, 3.0)]);
        let none: [([_; 0], _); 0] = [];
        page.counters(Name("left_out_total", "None."), none);
        assert_eq!(
            page.text(),
            "# HELP a_total Of a.\n# TYPE a_total counter\na_total 7\n\
             # HELP b Of b.\n# TYPE b gauge\nb{k=\"with \\\"quotes\\\"\\n\"} 0.5\n\
             # HELP c Of c.\n# TYPE c gauge\nc{k=\"1\",l=\"2\"} 3\n"
        );
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all() {
        let mut page = Page::default();
        page.histogram(Name("t_seconds", "Time."), &Histogram::default());
        let text = page.text();
        assert!(text.contains("t_seconds_bucket{le=\"0.000064\"} 0\n"));
        assert!(text.contains("t_seconds_bucket{le=\"134.217728\"} 0\n"));
        assert!(text.contains("t_seconds_bucket{le=\"+Inf\"} 0\n"));
        assert!(text.ends_with("t_seconds_sum 0\nt_seconds_count 0\n"));
    }
}
