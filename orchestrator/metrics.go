package orchestrator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// metrics are what the daemon counts for Prometheus.
type metrics struct {
	registry *prometheus.Registry
	pass     prometheus.Histogram
	actions  *prometheus.HistogramVec
	repairs  *prometheus.CounterVec
}

func newMetrics(r *Reconciler) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		pass: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "archipelago_pass_seconds",
			Help: "Time of a reconcile pass: observing and planning.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		actions: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "archipelago_action_seconds",
			Help: "Time of an action on an application, by its verb and outcome.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 16)}, []string{"verb", "outcome"}),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "archipelago_repairs_total",
			Help: "Starts of an application that were not requested."}, []string{"app"}),
	}
	m.registry.MustRegister(m.pass, m.actions, m.repairs, &collector{r,
		prometheus.NewDesc("archipelago_app_state", "1 for the state that an application is in.", []string{"app", "version", "state"}, nil),
		prometheus.NewDesc("archipelago_observation_age_seconds", "Age of what is known of the engine.", nil, nil),
		prometheus.NewDesc("archipelago_backup_age_seconds", "Age of an application's newest backup in a repository.", []string{"app"}, nil),
		prometheus.NewDesc("archipelago_backup_size_bytes", "What an application's newest backup holds.", []string{"app"}, nil),
		prometheus.NewDesc("archipelago_backup_proven_age_seconds", "Time since an application's backup was last restored on trial.", []string{"app"}, nil),
		prometheus.NewDesc("archipelago_backup_started_age_seconds", "Time since an application last came up from a backup that was restored on trial.", []string{"app"}, nil),
		prometheus.NewDesc("archipelago_backup_problem", "1 where an application's backup is overdue, damaged, or not to be restored.", []string{"app"}, nil)})
	return m
}

// acted counts an action.
func (m *metrics) acted(verb plan.Verb, took time.Duration, err error) {
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	m.actions.WithLabelValues(string(verb), outcome).Observe(took.Seconds())
}

// Metrics is what the daemon counts.
func (r *Reconciler) Metrics() *prometheus.Registry { return r.metrics.registry }

type collector struct {
	r                                                             *Reconciler
	state, age                                                    *prometheus.Desc
	backupAge, backupSize, backupProven, backupStarted, backupBad *prometheus.Desc
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.state, c.age, c.backupAge, c.backupSize, c.backupProven, c.backupStarted, c.backupBad} {
		out <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	views, at, _ := c.r.Apps()
	for _, v := range views {
		if v.State == view.Up && fault.Planted(fault.MetricsLie) {
			v.State = view.Down
		}
		out <- prometheus.MustNewConstMetric(c.state, prometheus.GaugeValue, 1, v.Manifest.ID, v.Manifest.Version, string(v.State))
	}
	for _, v := range views {
		b := v.Backup
		if b == (view.Backup{}) {
			continue
		}
		if !b.Made.IsZero() {
			out <- prometheus.MustNewConstMetric(c.backupAge, prometheus.GaugeValue, time.Since(b.Made).Seconds(), v.Manifest.ID)
			out <- prometheus.MustNewConstMetric(c.backupSize, prometheus.GaugeValue, float64(b.Size), v.Manifest.ID)
		}
		if !b.Proven.IsZero() {
			out <- prometheus.MustNewConstMetric(c.backupProven, prometheus.GaugeValue, time.Since(b.Proven).Seconds(), v.Manifest.ID)
		}
		if !b.Started.IsZero() {
			out <- prometheus.MustNewConstMetric(c.backupStarted, prometheus.GaugeValue, time.Since(b.Started).Seconds(), v.Manifest.ID)
		}
		bad := 0.0
		if b.Problem != "" {
			bad = 1
		}
		out <- prometheus.MustNewConstMetric(c.backupBad, prometheus.GaugeValue, bad, v.Manifest.ID)
	}
	if !at.IsZero() {
		out <- prometheus.MustNewConstMetric(c.age, prometheus.GaugeValue, time.Since(at).Seconds())
	}
}
