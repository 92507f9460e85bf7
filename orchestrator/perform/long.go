package perform

import (
	"sync"
	"time"
)

// tellEvery is how often it is told that long work goes on.
const tellEvery = 15 * time.Second

// Long does work that takes as long as an application's data is large, and tells meanwhile
// what is done and for how long: whoever waits sees that it goes on. The engine ends work that
// does not.
func Long(o Observer, app, what string, do func() error) error {
	o.Say(app, what)
	begin, done := time.Now(), make(chan struct{})
	var telling sync.WaitGroup
	defer telling.Wait()
	defer close(done)
	telling.Go(func() {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				o.Say(app, what+", for "+time.Since(begin).Round(time.Second).String()+" so far")
			case <-done:
				return
			}
		}
	})
	return do()
}
