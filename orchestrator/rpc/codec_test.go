package rpc

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func TestABinaryMessageThatIsHalfUnderstoodIsRefused(t *testing.T) {
	whole := &api.ListAppsResponse{Apps: []*api.App{{Id: "a"}, {Id: "b"}}}
	b, err := strictBinary{}.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	var got api.ListAppsResponse
	if err := (strictBinary{}).Unmarshal(b, &got); err != nil || !proto.Equal(&got, whole) {
		t.Errorf("%v, %v", &got, err)
	}
	extra := protowire.AppendVarint(protowire.AppendTag(nil, 9999, protowire.VarintType), 1)
	if err := (strictBinary{}).Unmarshal(append(b, extra...), &got); err == nil || !strings.Contains(err.Error(), "ListAppsResponse has 4 bytes of fields that this daemon does not know") {
		t.Errorf("%v", err)
	}
	whole.Apps[1].ProtoReflect().SetUnknown(extra)
	if b, err = proto.Marshal(whole); err != nil {
		t.Fatal(err)
	}
	if err := (strictBinary{}).Unmarshal(b, &got); err == nil || !strings.Contains(err.Error(), "App has 4 bytes") {
		t.Errorf("in a list: %v", err)
	}
	if err := (strictBinary{}).Unmarshal([]byte{0xff}, &got); err == nil {
		t.Error("what is no message was read")
	}
}
