// A few notifications that a social-assistance department really sends, ready to publish.

import { current } from './i18n.js';

const soon = (minutes) => new Date(Date.now() + minutes * 60_000);

const EXAMPLES = {
  pt: {
    approved: ['Solicitação aprovada', 'Seu pedido <b>2024/17</b> foi aprovado. Leve um documento com foto à sua unidade.'],
    pending: ['Falta um documento', 'Para seguir com o pedido <b>2024/21</b>, envie:<ul><li>comprovante de residência</li><li>documento com foto</li></ul>'],
    deadline: ['Prazo vence amanhã', 'A análise do pedido <b>2024/08</b> vence <em>amanhã</em>. Há uma ordem judicial.'],
    payment: ['Pagamento não concluído', 'O banco recusou o pagamento da concessão <code>C-311</code>. Confira os dados da conta.'],
    notice: ['Manutenção programada', 'O sistema ficará fora do ar hoje, das 22h às 23h.'],
  },
  en: {
    approved: ['Request approved', 'Your request <b>2024/17</b> was approved. Bring a photo ID to your unit.'],
    pending: ['A document is missing', 'To go on with request <b>2024/21</b>, please send:<ul><li>proof of address</li><li>photo ID</li></ul>'],
    deadline: ['Deadline tomorrow', 'The review of request <b>2024/08</b> is due <em>tomorrow</em>. There is a court order.'],
    payment: ['Payment failed', 'The bank refused the payment of grant <code>C-311</code>. Please check the account.'],
    notice: ['Planned maintenance', 'The system will be down today from 10 pm to 11 pm.'],
  },
};

const SHAPES = {
  approved: { audience: 'users', type: 'solicitacao.aprovada', priority: 'high', link: '/solicitacoes/17', data: { protocolo: '2024/17' } },
  pending: { audience: 'users', type: 'solicitacao.pendencia_criada', priority: 'normal', link: '/solicitacoes/21', requiresAck: true },
  deadline: { audience: 'unit', unit: 'cras-norte', type: 'solicitacao.prazo_vencendo', priority: 'urgent', link: '/solicitacoes/8', requiresAck: true },
  payment: { audience: 'benefit', benefit: 'cesta-basica', type: 'pagamento.falhou', priority: 'urgent' },
  notice: { audience: 'everyone', type: 'sistema.manutencao_programada', priority: 'low', expiresAt: () => soon(60) },
};

export const EXAMPLE_NAMES = Object.keys(SHAPES);

/** The seed catalogue's types, as suggestions. */
export const TYPES = [
  'solicitacao.criada', 'solicitacao.status_alterado', 'solicitacao.aprovada', 'solicitacao.indeferida',
  'solicitacao.pendencia_criada', 'solicitacao.pendencia_resolvida', 'solicitacao.prazo_vencendo',
  'aprovacao.atribuida', 'concessao.suspensa', 'pagamento.liberado', 'pagamento.confirmado', 'pagamento.falhou',
  'monitoramento.visita_pendente', 'seguranca.atividade_suspeita', 'sistema.manutencao_programada', 'sistema.comunicado',
];

/** An example in the language in use. */
export function example(name) {
  const [title, body] = EXAMPLES[current()][name];
  const { expiresAt, ...shape } = SHAPES[name];
  return { ...shape, title, body, expiresAt: expiresAt?.() ?? null };
}
