package plan

import (
	"cmp"
	"slices"
)

// Capacity is what a node carries at the same time, as it said itself at preflight.
type Capacity struct {
	CPUs   int
	Memory int64 // bytes that are available; 0 if the node does not say
}

// A cell waits most of the time: for systemd, for a health check, for the next poll.
const jobsPerCPU = 2

// maxWidth keeps the connections that jobs open at the same instant below the 10 at which
// sshd begins to drop them (MaxStartups, sshd_config(5)).
const maxWidth = 10

// Width is how many jobs go side by side, whatever their memory.
func (c Capacity) Width() int { return min(max(1, jobsPerCPU*c.CPUs), maxWidth) }

// Schedule says which jobs of a graph begin when: as soon as those before them have ended,
// no claim of theirs is held and the node has room, and of several the one first that has
// the longest way to the end of the cycle behind it. It decides nothing by the clock.
type Schedule struct {
	jobs    []Job
	room    Capacity
	state   []jobState
	way     []float64 // seconds from a job's begin to the end of the cycle, by its longest path
	order   []int     // of preference
	running int
	memory  int64
}

type jobState int

const (
	pending jobState = iota
	begun
	ended
)

// NewSchedule begins a graph on a node.
func NewSchedule(jobs []Job, room Capacity) *Schedule {
	s := &Schedule{jobs: jobs, room: room, state: make([]jobState, len(jobs)), way: make([]float64, len(jobs))}
	behind := make([]float64, len(jobs))
	for i := len(jobs) - 1; i >= 0; i-- { // a job stands after those it waits for
		s.way[i] = jobs[i].Seconds + behind[i]
		for _, before := range jobs[i].After {
			behind[before] = max(behind[before], s.way[i])
		}
		s.order = append(s.order, i)
	}
	slices.SortFunc(s.order, func(a, b int) int {
		return cmp.Or(cmp.Compare(s.way[b], s.way[a]), cmp.Compare(jobs[b].Memory, jobs[a].Memory), cmp.Compare(a, b))
	})
	return s
}

// Next begins what can begin now, and gives the jobs by their index in the graph.
func (s *Schedule) Next() (out []int) {
	for _, i := range s.order {
		if s.state[i] == pending && s.free(i) {
			s.state[i] = begun
			s.running++
			s.memory += s.jobs[i].Memory
			out = append(out, i)
		}
	}
	return out
}

// free tells whether a job can begin. One that is larger than the node begins when nothing
// else is under way, so that it is tried at all.
func (s *Schedule) free(i int) bool {
	j := &s.jobs[i]
	switch {
	case slices.ContainsFunc(j.After, func(b int) bool { return s.state[b] != ended }):
		return false
	case s.running >= s.room.Width():
		return false
	case s.running > 0 && s.room.Memory > 0 && s.memory+j.Memory > s.room.Memory:
		return false
	}
	for other := range s.jobs {
		if s.state[other] == begun && j.Conflicts(&s.jobs[other]) {
			return false
		}
	}
	return true
}

// Ended ends a job that has begun.
func (s *Schedule) Ended(i int) {
	if s.state[i] == begun {
		s.state[i] = ended
		s.running--
		s.memory -= s.jobs[i].Memory
	}
}

// Done tells whether every job has ended.
func (s *Schedule) Done() bool {
	return !slices.ContainsFunc(s.state, func(st jobState) bool { return st != ended })
}
