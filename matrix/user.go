package matrix

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

const (
	clientTimeout = 10 * time.Second
	maxAnswer     = 1 << 20
)

// User uses an application as its owner does: from outside, with the credentials that the
// daemon shows, and by the application's own tools in its containers.
type User struct {
	address string            // of the node
	trusted nodes.Authority   // the node's
	secrets map[string]string // the owner's credentials
	shell   shell             // canaries that are files are planted by it, and commands run
}

// shell runs commands on the node: what a nodes.Client does.
type shell interface {
	Stream(ctx context.Context, command string, stdin io.Reader, w io.Writer) error
}

// hostPort is where an interface is reached: a web interface through the proxy, any other
// on its published port.
func (u *User) hostPort(m *manifest.Manifest, in manifest.Interface) (string, error) {
	p, ok := m.Port(in.Port)
	if !ok {
		return "", fmt.Errorf("interface on port %q, which %s does not publish", in.Port, m.ID)
	}
	if slices.Contains(m.WebPorts(), p) {
		p.Host += manifest.ProxyOffset
	}
	return net.JoinHostPort(u.address, strconv.Itoa(p.Host)), nil
}

func (u *User) fill(s, canary string) string {
	s = strings.ReplaceAll(s, "{{canary}}", canary)
	for name, value := range u.secrets {
		s = strings.ReplaceAll(s, "{{secret:"+name+"}}", value)
	}
	return s
}

func (u *User) http(ctx context.Context, m *manifest.Manifest, c *manifest.HTTPCanary, r manifest.Request, canary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	host, err := u.hostPort(m, m.Interfaces[c.Interface])
	if err != nil {
		return "", err
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	path := u.fill(r.Path, canary)
	req, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, strings.NewReader(u.fill(r.Body, canary)))
	if err != nil {
		return "", err
	}
	for k, v := range r.Headers {
		req.Header.Set(k, u.fill(v, canary))
	}
	if c.Login != nil {
		req.SetBasicAuth(c.Login.User, u.secrets[c.Login.Secret])
	}
	resp, err := pinned(u.trusted, "").Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", method, path, err)
	}
	if !accepted(resp.StatusCode, r.Status) {
		return "", fmt.Errorf("%s %s: status %d, expected %s: %.200q", method, path, resp.StatusCode, expected(r.Status), bytes.TrimSpace(body))
	}
	return string(body), nil
}

// accepted tells whether a status is the one that is wanted; 0 wants any of 200 to 299. A
// server that says of itself that it failed never passes, whatever a manifest wants.
func accepted(status, want int) bool {
	if status/100 == 5 {
		return false
	}
	return want != 0 && status == want || want == 0 && status/100 == 2
}

func expected(status int) string {
	if status == 0 {
		return "2xx"
	}
	return strconv.Itoa(status)
}

// connect makes an MQTT session: the handshake proves that a broker answers and
// accepts the owner's credentials.
func (u *User) connect(ctx context.Context, m *manifest.Manifest, in manifest.Interface, login *manifest.Login) (mqtt.Client, error) {
	host, err := u.hostPort(m, in)
	if err != nil {
		return nil, err
	}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + host).SetClientID("archipelago-gate-" + strconv.FormatInt(time.Now().UnixNano(), 36)).
		SetConnectTimeout(clientTimeout).SetAutoReconnect(false).SetConnectRetry(false).SetCleanSession(true)
	if login != nil {
		o.SetUsername(login.User).SetPassword(u.secrets[login.Secret])
	}
	c := mqtt.NewClient(o)
	if err := token(ctx, c.Connect()); err != nil {
		return nil, fmt.Errorf("MQTT handshake with %s: %w", host, err)
	}
	return c, nil
}

const disconnectQuiesce = 50 // milliseconds

func token(ctx context.Context, t mqtt.Token) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return fmt.Errorf("no answer within %s", clientTimeout)
	}
}

func (u *User) mqttPublish(ctx context.Context, m *manifest.Manifest, c *manifest.MQTTCanary, canary string) error {
	client, err := u.connect(ctx, m, m.Interfaces[c.Interface], c.Login)
	if err != nil {
		return err
	}
	defer client.Disconnect(disconnectQuiesce)
	const atLeastOnce, retained = 1, true
	return token(ctx, client.Publish(c.Topic, atLeastOnce, retained, canary))
}

func (u *User) mqttRead(ctx context.Context, m *manifest.Manifest, c *manifest.MQTTCanary, canary string) error {
	client, err := u.connect(ctx, m, m.Interfaces[c.Interface], c.Login)
	if err != nil {
		return err
	}
	defer client.Disconnect(disconnectQuiesce)
	got := make(chan mqtt.Message, 1)
	if err := token(ctx, client.Subscribe(c.Topic, 1, func(_ mqtt.Client, msg mqtt.Message) {
		select {
		case got <- msg:
		default:
		}
	})); err != nil {
		return err
	}
	select {
	case msg := <-got:
		if !msg.Retained() || string(msg.Payload()) != canary {
			return fmt.Errorf("topic %s holds %.80q (retained %v)", c.Topic, msg.Payload(), msg.Retained())
		}
		return nil
	case <-time.After(clientTimeout):
		return fmt.Errorf("topic %s: no retained message within %s", c.Topic, clientTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func dataDir(m *manifest.Manifest) string { return nodes.DataDir + "/" + m.ID }
