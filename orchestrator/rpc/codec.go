package rpc

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The protocol's two codecs, except that they refuse what they do not know: a request
// that is half understood is not half granted. Messages of clients newer than the daemon
// are refused where they use what is new.
type (
	strictJSON   struct{ name string }
	strictBinary struct{}
)

func (c strictJSON) Name() string { return c.name }

func (c strictJSON) Marshal(m any) ([]byte, error) {
	p, err := message(m)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(p)
}

func (c strictJSON) Unmarshal(b []byte, m any) error {
	p, err := message(m)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return errors.New("zero-length payload is not a JSON object")
	}
	return protojson.Unmarshal(b, p)
}

func (strictBinary) Name() string { return "proto" }

func (strictBinary) Marshal(m any) ([]byte, error) {
	p, err := message(m)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(p)
}

func (strictBinary) Unmarshal(b []byte, m any) error {
	p, err := message(m)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(b, p); err != nil {
		return err
	}
	return known(p.ProtoReflect())
}

// known refuses a message with fields that this daemon does not know, at any depth.
func known(m protoreflect.Message) (err error) {
	if n := len(m.GetUnknown()); n > 0 {
		return fmt.Errorf("%s has %d bytes of fields that this daemon does not know; use an archy of its version", m.Descriptor().Name(), n)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { err = known(v.Message()); return err == nil })
		case f.IsList() && f.Message() != nil:
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = known(v.List().Get(i).Message())
			}
		case f.Message() != nil && !f.IsMap():
			err = known(v.Message())
		}
		return err == nil
	})
	return err
}

func message(m any) (proto.Message, error) {
	p, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a message", m)
	}
	return p, nil
}
