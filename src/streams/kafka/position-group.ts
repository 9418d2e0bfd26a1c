/**
 * The stream's position as Kafka keeps it: an offset that the publisher's own transactions commit for a reserved
 * group, on partition 0 of one topic. The offset is the ticket, for people and their tools; the metadata beside it is
 * the position itself. The group never has a member: once a consumer has joined, brokers count the offset's expiry
 * from when the group became empty, however often it is committed.
 */

import type { Admin, TopicOffsets } from 'kafkajs';
import { IntegrityError } from '../../errors.js';
import { decodePosition, encodePosition } from '../position-json.js';
import type { StreamPosition } from '../publisher.js';

export interface PositionPlace {
  readonly group: string;
  readonly topic: string;
}

/** What `sendOffsets` takes. */
export function positionOffsets(place: PositionPlace, position: StreamPosition): TopicOffsets[] {
  const entry = { partition: 0, offset: position.ticket.toString(), metadata: encodePosition(position) };
  return [{ topic: place.topic, partitions: [entry] }];
}

/**
 * True only after InitProducerId has answered: before that a commit may still be on its way. Undefined where the
 * group holds nothing.
 * @throws IntegrityError `position_unreadable`: something else committed for the group.
 * @throws IntegrityError `position_group_in_use`: a consumer is a member of it.
 */
export async function readPosition(admin: Admin, place: PositionPlace): Promise<StreamPosition | undefined> {
  const { groups } = await admin.describeGroups([place.group]);
  const members = groups.find((group) => group.groupId === place.group)?.members.length ?? 0;
  if (members > 0) {
    throw new IntegrityError(
      'position_group_in_use',
      `a consumer has joined "${place.group}", the group that keeps the stream's position`,
      {
        hint: 'Stop that consumer or give it another group id; the group is reserved.',
        details: { group: place.group, members },
      },
    );
  }
  const offsets = await admin.fetchOffsets({ groupId: place.group, topics: [place.topic] });
  const found = offsets
    .find((entry) => entry.topic === place.topic)
    ?.partitions.find((entry) => entry.partition === 0);
  if (found === undefined || found.offset === '-1') return undefined;
  const position = decodePosition(found.metadata ?? '');
  if (position === undefined || position.ticket.toString() !== found.offset) {
    throw new IntegrityError(
      'position_unreadable',
      `group "${place.group}" holds offset ${found.offset} of topic "${place.topic}", which is no position of a stream`,
      {
        hint: "Something else committed offsets for this group. Find out what; the topic's last end marker tells how far the stream is.",
        details: { group: place.group, topic: place.topic, offset: found.offset },
      },
    );
  }
  return position;
}
