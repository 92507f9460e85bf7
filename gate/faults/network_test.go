//go:build lab

package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// late is how long the network stays away after a boot: longer than the 90 s for which
// Podman's podman-user-wait-network-online.service waits at most.
const late = 120 * time.Second

// pullCable waits for the end of a boot, takes the network away, and brings it back late.
const pullCable = `i=0
while ss -Hlnt sport = :22 | grep -q .; do i=$((i+1)); [ $i -lt 1200 ]; sleep 0.05; done
route=$(ip route show default)
ip link set eth0 down
sleep %d
ip link set eth0 up
ip route replace $route`

var _ = Describe("the network", func() {
	It("comes two minutes after the boot: applications are reached from outside, and reach it", Label("long"), func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "page")
		other := lab.Nodes[0].Name
		if other == node.Name {
			other = lab.Nodes[1].Name
		}
		var addresses bytes.Buffer
		Expect(theLab.Exec(ctx, other, &addresses, "hostname -I")).To(Succeed())
		outside := strings.Fields(addresses.String())[0]
		// What a server says first proves that it was reached.
		outwards := fmt.Sprintf("podman exec page busybox timeout 3 busybox nc %s 22 </dev/null | head -c 4", outside)
		Expect(onNode(ctx, "%s", outwards)).To(Equal("SSH-"))

		pulled := make(chan error, 1)
		go func() {
			pulled <- theLab.Cable(ctx, node.Name, GinkgoWriter, fmt.Sprintf(pullCable, int(late.Seconds())))
		}()
		asked := time.Now()
		_, err := node.SSH.Reboot(ctx) // answers when the network is there
		Expect(err).NotTo(HaveOccurred())
		Eventually(pulled).WithContext(ctx).WithTimeout(bound).Should(Receive(BeNil()), "waiting for the cable to be back")
		Expect(time.Since(asked)).To(BeNumerically(">", late), "the network was not late")

		begin := time.Now()
		awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
		settled(ctx, app("page"), before, bound)
		client := http.Client{Transport: &http.Transport{TLSClientConfig: node.Authority.TLS(), DisableKeepAlives: true}, Timeout: poll * 10}
		Eventually(func() error {
			resp, err := client.Get(fmt.Sprintf("https://%s:%d/", node.Address, 8900+manifest.ProxyOffset))
			if err != nil {
				return err
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d", resp.StatusCode)
			}
			return nil
		}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Succeed(), "waiting for the page from outside")
		check()
		Eventually(func() (string, error) { return node.SSH.Run(ctx, outwards) }).WithContext(ctx).WithTimeout(bound).WithPolling(poll).
			Should(Equal("SSH-"), "waiting for the container to reach node %s at %s", other, outside)
		recovered(begin, bound)
	}, SpecTimeout(6*time.Minute))
})
